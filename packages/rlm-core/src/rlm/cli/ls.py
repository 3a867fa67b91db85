"""`rlm ls`: the sessions, newest first."""

from __future__ import annotations

import json
from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.pager import PagedOutput
from rlm.cli.streams import put_json, say
from rlm.config.environment import state_folder
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.present.show import listed_wire, show_list
from rlm.sessions.find import sessions_home
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import list_sessions


def run(line: CommandLine) -> int:
    """List the sessions of RLM_HOME."""
    config = read_config(line.settings)
    home = sessions_home(config, Path.cwd())
    sessions = list_sessions(home, key_or_none(state_folder()))
    if config.json:
        for listed in sessions:
            put_json(json.dumps(listed_wire(listed)))
    elif sessions:
        with PagedOutput(config) as output:
            show_list(sessions, output.canvas)
    else:
        say(f'There is no session in {home} yet. `rlm "task"` creates one.')
    return exit_codes.DONE
