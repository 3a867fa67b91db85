"""`rlm show [ID]`: a session as a tree, each agent under the cell that started it."""

from __future__ import annotations

import time
from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.pager import PagedOutput, paged
from rlm.cli.streams import say, stdout_is_terminal
from rlm.config.environment import state_folder
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.present.brief import failed_agents, show_brief
from rlm.present.export import subtree
from rlm.present.follow import Follower
from rlm.present.show import show_tree
from rlm.sessions.find import find_agent, sessions_home
from rlm.sessions.meta import RUNNING, with_true_status
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import listed_session, meta_of, read_tree

PAUSE = 0.5
"""Seconds between two reads of a session that is followed."""


def run(line: CommandLine) -> int:
    """
    Raises:
        SessionError: there is no such session.
    """
    config = read_config(line.settings)
    key = key_or_none(state_folder())
    found = find_agent(sessions_home(config, Path.cwd()), line.id, key)
    folder = found.folder
    if (listed := listed_session(folder, key)) and listed.foreign:
        say(f"rlm: Session {folder.name} is foreign: you did not create it on this machine.")
    whole = "whole" in line.options or not stdout_is_terminal()
    if "follow" in line.options:
        return _follow(found.own_folder, config, whole=whole)
    tree = subtree(subtree(read_tree(folder), found.agent), line.options.get("agent"))
    failed = failed_agents(tree) if "failed" in line.options else None
    if failed is not None and not failed:
        say("Nothing failed.")
        return exit_codes.DONE
    with paged(config) as canvas:
        if "brief" in line.options:
            show_brief(tree, canvas, failed=failed)
        else:
            show_tree(tree, canvas, whole=whole, failed=failed)
    return exit_codes.DONE


def _follow(folder: Path, config: Config, *, whole: bool) -> int:
    """Print events as they happen, until the session ends."""
    with PagedOutput(config, whole=True) as output:
        follower = Follower(folder, output.canvas, whole=whole)
        running = True
        while follower.show_new() or running:
            output.flush()
            running = with_true_status(meta_of(folder), folder).status == RUNNING
            time.sleep(PAUSE)
    return exit_codes.DONE
