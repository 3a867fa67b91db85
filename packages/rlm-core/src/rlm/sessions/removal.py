"""Removes sessions, by descriptor, so that nothing outside the folder of sessions is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rlm.errors import SessionError
from rlm.sessions import journal
from rlm.sessions.folder import enter, open_sessions
from rlm.sessions.meta import RUNNING
from rlm.sessions.store import listed_session


def remove_session(folder: Path, cwd: Path) -> None:
    """Remove a session that is not running, with its whole folder. No link in it is followed.

    Raises:
        SessionError: it runs, or a part of it cannot be removed.
    """
    sessions = open_sessions(folder.parent.parent, cwd, make=False)
    try:
        _remove(folder, sessions)
    except BlockingIOError:
        raise still_runs(folder.name) from None
    except OSError as error:
        raise SessionError(f"Session {folder.name} cannot be removed: {error.filename}: {error.strerror}.") from None
    finally:
        os.close(sessions)


def _remove(folder: Path, sessions: int) -> None:
    check_ended(folder)  # the only check on a file system without locks
    handle = enter(sessions, folder.name)
    try:
        with journal.locked(handle):
            shutil.rmtree(folder.name, dir_fd=sessions)
    finally:
        os.close(handle)


def check_ended(folder: Path) -> None:
    """Check that a session is not running.

    Raises:
        SessionError: it runs.
    """
    listed = listed_session(folder, None)
    if listed is not None and listed.meta.status == RUNNING:
        raise still_runs(folder.name)


def still_runs(id: str) -> SessionError:
    return SessionError(f"Session {id} is running, so it is not removed. `rlm stop {id}` ends it.")
