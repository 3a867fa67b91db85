"""`rlm ls`: the sessions, newest first."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rlm.cli import exits
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.page import console
from rlm.config import read_config
from rlm.session.show import listed_wire, show_list
from rlm.session.store import list_sessions


def run(argv: Sequence[str]) -> int:
    """List the sessions of RLM_HOME."""
    made = parser("rlm ls", "List the sessions, newest first.")
    add_settings(made, "home", "json", "color")
    config = read_config(settings_given(made.parse_args(argv)))
    sessions = list_sessions(config.home.absolute())
    if config.json:
        for listed in sessions:
            print(json.dumps(listed_wire(listed)))
    elif sessions:
        show_list(sessions, console(config))
    else:
        print(f'There is no session in {config.home} yet. `rlm "task"` makes one.', file=sys.stderr)
    return exits.DONE
