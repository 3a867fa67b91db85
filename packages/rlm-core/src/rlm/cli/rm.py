"""`rlm rm ID …`: remove sessions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.own_process import working_directory
from rlm.cli.streams import put, say, stderr_is_terminal
from rlm.config.environment import state_folder
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.present.humanize import many
from rlm.present.show import listed_line
from rlm.sessions.find import find, sessions_home
from rlm.sessions.removal import check_ended, remove_session
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import ListedSession, listed_session

_SHORTEST = re.compile(r"[0-9a-fA-F]{4,12}")


def run(line: CommandLine) -> int:
    """
    Raises:
        ConfigError: no session is named, or a name is ambiguous.
        SessionError: one of them does not exist, or is running. Nothing has been removed then.
    """
    if not line.all_words:
        raise ConfigError("rlm rm needs the id of a session. `rlm ls` lists them; to remove old ones: rlm prune --help")
    home, key = sessions_home(read_config(line.settings), Path.cwd()), key_or_none(state_folder())
    folders = list(dict.fromkeys(find(home, _checked(wanted), key) for wanted in line.all_words))
    for folder in folders:
        check_ended(folder)
    listed = [listed_session(folder, key) or folder for folder in folders]
    remove(listed, line)
    return exit_codes.DONE


def _checked(wanted: str) -> str:
    if not _SHORTEST.fullmatch(wanted):
        raise ConfigError(f"{wanted!r} does not name a session to remove: give four to twelve digits of its id.")
    return wanted


def remove(sessions: Iterable[ListedSession | Path], line: CommandLine) -> None:
    """Remove sessions; at a terminal, ask the user first.

    Raises:
        SessionError: a session cannot be removed.
    """
    folders = {}
    for each in sessions:
        folder, shown = (each, each.name) if isinstance(each, Path) else (each.folder, listed_line(each))
        folders[folder] = shown
        say(shown)
    if "dry_run" in line.options:
        return
    stdin = sys.stdin if sys.stdin is not None and sys.stdin.isatty() and stderr_is_terminal() else None
    if "yes" not in line.options and stdin is not None:
        say(f"Remove {many(len(folders), 'session')} permanently? Type y and Enter:")
        if stdin.readline().strip().lower() not in ("y", "yes"):
            say("Nothing was removed.")
            return
    for folder in folders:
        remove_session(folder, working_directory())
        put(folder.name)
