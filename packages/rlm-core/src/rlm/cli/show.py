"""`rlm show [ID]`: a session as a tree, each agent under the cell that started it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rlm.cli import exits
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.pager import PagedOutput, paged
from rlm.cli.streams import say
from rlm.config.environment import state_folder
from rlm.config.settings import Config, read_config
from rlm.present.follow import Follower
from rlm.present.show import show_tree
from rlm.sessions.meta import RUNNING, settled
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import find, listed_session, meta_of, read_tree

PAUSE = 0.5
"""Seconds between looks at a session that is followed."""


def run(argv: Sequence[str]) -> int:
    """
    Raises:
        SessionError: there is no such session.
    """
    made = parser("rlm show", "Read a session as a tree: the newest, or the one whose id begins so.")
    made.add_argument("-f", "--follow", action="store_true", help="go on until the session ends")
    made.add_argument("--whole", action="store_true", help="outputs are not cut")
    add_settings(made, "home", "color")
    made.add_argument("id", nargs="?", help="twelve hex digits, or as many of the first as are unique")
    given = made.parse_args(argv)
    config = read_config(settings_given(given))
    key = key_or_none(state_folder())
    folder = find(config.home.absolute(), given.id, key)
    if (listed := listed_session(folder, key)) and listed.foreign:
        say(f"rlm: Session {folder.name} is foreign: you have not made it on this machine.")
    if given.follow:
        return _follow(folder, config)
    with paged(config) as canvas:
        show_tree(read_tree(folder), canvas, whole=given.whole)
    return exits.DONE


def _follow(folder: Path, config: Config) -> int:
    """What happens, as it happens, until the session ends."""
    with PagedOutput(config) as output:
        follower = Follower(folder, output.canvas)
        running = True
        while follower.show_new() or running:
            output.flush()
            running = settled(meta_of(folder), folder).status == RUNNING
            time.sleep(PAUSE)
    return exits.DONE
