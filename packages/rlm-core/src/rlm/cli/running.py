"""Finds the running session that a command refers to."""

from __future__ import annotations

from pathlib import Path

from rlm.errors import SessionError
from rlm.sessions.find import find
from rlm.sessions.meta import RUNNING
from rlm.sessions.signing_key import SigningKey
from rlm.sessions.store import ListedSession, list_sessions, listed_session


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
