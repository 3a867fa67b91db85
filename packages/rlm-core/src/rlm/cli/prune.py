"""`rlm prune --older-than AGE`: remove sessions that have not been used for that long."""

from __future__ import annotations

import re
import time
from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.rm import remove
from rlm.cli.streams import say
from rlm.config.environment import state_folder
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.present.humanize import many
from rlm.sessions.find import sessions_home
from rlm.sessions.meta import RUNNING
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import list_sessions

_AGE = re.compile(r"(\d+(?:\.\d+)?)([mhdw])")
_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def run(line: CommandLine) -> int:
    """
    Raises:
        ConfigError: no age is given, or it cannot be parsed.
        SessionError: a session cannot be removed.
    """
    age = _age(line.options.get("older_than"))
    home = sessions_home(read_config(line.settings), Path.cwd())
    since = time.time() - age
    old = [each for each in list_sessions(home, key_or_none(state_folder())) if each.meta.updated_time < since]
    ended = [each for each in old if each.meta.status != RUNNING]
    own = [each for each in ended if not each.foreign]
    if foreign := len(ended) - len(own):
        say(
            f"Not removed: {many(foreign, 'session')} that you did not create on this machine; `rlm rm ID` removes one."
        )
    if running := len(old) - len(ended):
        say(f"Not removed: {many(running, 'running session')}.")
    if own:
        remove(own, line)
    else:
        say(f"No session in {home} is older than {line.options['older_than']}.")
    return exit_codes.DONE


def _age(text: str | None) -> float:
    """Parse an age; return seconds."""
    if text is None:
        raise ConfigError("rlm prune needs an age: rlm prune --older-than 30d (or 2w, 12h, 45m)")
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigError(f"--older-than {text} is not allowed: it takes a number and a unit, as 30d, 2w, 12h or 45m.")
    return float(found[1]) * _UNITS[found[2]]
