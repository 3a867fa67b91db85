"""`rlm stop [ID]`: end a running session in order."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.streams import say
from rlm.config.environment import state_folder
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import SessionError
from rlm.sessions.find import find, sessions_home
from rlm.sessions.meta import RUNNING, process_start
from rlm.sessions.signing_key import SigningKey, key_or_none
from rlm.sessions.store import ListedSession, list_sessions, listed_session

GRACE = 10.0
"""Seconds that a run has to close in order before a second signal skips its grace periods."""
_PAUSE = 0.05


def run(line: CommandLine) -> int:
    """
    Raises:
        SessionError: there is no such session, or its process cannot be ended from here.
    """
    home, key = sessions_home(read_config(line.settings), Path.cwd()), key_or_none(state_folder())
    session = find_running("stop", home, line.id, key)
    id = session.folder.name
    if session.meta.status != RUNNING:
        say(f"Session {id} is not running: it is {session.meta.status}.")
        return exit_codes.DONE
    _check(session, list_sessions(home, key))
    for _ in range(2):
        _ask_to_end(session)
        if _has_ended(session, key):
            say(f"Session {id} has ended. To continue it: rlm resume {id}")
            return exit_codes.DONE
    raise SessionError(f"Session {id} did not end. To kill its process: kill -9 {session.meta.pid}")


def _check(session: ListedSession, every: list[ListedSession]) -> None:
    """Check that the process belongs to the session, and runs no other session.

    Raises:
        SessionError: the process does not belong to the session, or runs another one too.
    """
    meta, id = session.meta, session.folder.name
    if session.foreign or process_start(meta.pid) != meta.pid_start:
        raise SessionError(
            f"Session {id} runs in a process that cannot be reached from here, such as another container."
        )
    with_it = [each for each in every if each.meta.status == RUNNING and _process(each) == _process(session)]
    if len(with_it) > 1:
        raise SessionError(
            f"The process of session {id} runs {len(with_it)} sessions, and all would end. To end it: kill {meta.pid}"
        )


def _process(session: ListedSession) -> tuple[int, str]:
    return session.meta.pid, session.meta.pid_start


def _ask_to_end(session: ListedSession) -> None:
    try:
        os.kill(session.meta.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise SessionError(f"Session {session.folder.name} runs as another user. Only that user can stop it.") from None


def _has_ended(session: ListedSession, key: SigningKey | None) -> bool:
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        now = listed_session(session.folder, key)
        if now is None or now.meta.status != RUNNING:
            return True
        time.sleep(_PAUSE)
    return False


def find_running(command: str, home: Path, wanted: str | None, key: SigningKey | None) -> ListedSession:
    """Return the session with this id, even if it has ended; without an id, the only running session.

    Raises:
        SessionError: there is none, or more than one.
    """
    if wanted is not None:
        folder = find(home, wanted, key)
        if (listed := listed_session(folder, key)) is None:
            raise SessionError(f"Session {folder.name} is not running: it never started.")
        return listed
    running = [each for each in list_sessions(home, key) if each.meta.status == RUNNING]
    if len(running) == 1:
        return running[0]
    if not running:
        raise SessionError(f"No session in {home} is running.")
    ids = ", ".join(each.folder.name for each in running[:5])
    raise SessionError(f"{len(running)} sessions are running: {ids}. Name one: rlm {command} ID")
