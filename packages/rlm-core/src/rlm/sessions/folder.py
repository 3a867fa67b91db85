"""Opens folders step by step, each by a descriptor of the one before, so that no symbolic link can redirect them."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from rlm.errors import SessionError
from rlm.process import files

IGNORE = b"*\n"
"""Keeps sessions out of version control."""


def open_sessions(home: Path, cwd: Path, *, make: bool = True) -> int:
    """Return a descriptor of `home`/sessions, created if missing. Both paths are absolute.

    No link is followed below `cwd` or below `home`, because others may have created files there.

    Raises:
        SessionError: it cannot be opened or created, or a component is a link.
    """
    below = home.is_relative_to(cwd)
    base, steps = (cwd, home.relative_to(cwd).parts) if below else (home, ())
    try:
        folder = files.open_folder(files.resolve(base), make=make and not below)
        for step in steps:
            folder = _step(folder, step, make)
        if make:
            _ignore(folder)
        folder = _step(folder, "sessions", make)
        if make:
            _ignore(folder)
        return folder
    except OSError as error:
        raise SessionError(
            f"Sessions cannot be stored in {home}: {error.strerror}. Set RLM_HOME to a folder that you can write to."
        ) from None


def _step(folder: int, name: str, make: bool) -> int:
    try:
        return enter(folder, name, make=make)
    finally:
        os.close(folder)


def _ignore(folder: int) -> None:
    """Keep a new folder out of version control. A folder with other content is left to the user."""
    if not os.listdir(folder):
        with suppress(FileExistsError):  # another run was faster
            files.write_new(".gitignore", IGNORE, dir_fd=folder)


def enter(folder: int, name: str, *, make: bool = False) -> int:
    """Return a descriptor of the folder `name` in `folder`. With `make` it is created, for its owner only, if missing.

    Raises:
        SessionError: `name` is a symbolic link.
        OSError: there is no such folder, or it cannot be created.
    """
    try:
        return files.open_folder(name, dir_fd=folder, make=make)
    except files.UnsafePath:
        raise SessionError(
            f"{name} is a symbolic link, and sessions are not written through one. Remove it, or set RLM_HOME."
        ) from None


def new_folder(folder: int, prefix: str, length: int) -> tuple[str, int]:
    """Create a folder in `folder` with a random name of `length` bytes in hex. Return its name and a descriptor.

    Raises:
        SessionError: it cannot be created.
    """
    while True:
        name = prefix + secrets.token_hex(length)
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
            return name, enter(folder, name)
        except FileExistsError:
            continue
        except OSError as error:
            raise cannot_be_made(error) from None


def cannot_be_made(error: OSError) -> SessionError:
    return SessionError(f"No session can be created: {error.strerror}. Set RLM_HOME to a folder that you can write to.")


_ROOM = " Free disk space and resume it."
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: " Allow larger files (ulimit -f) and resume it.",
    errno.ENOENT: " Its folder was removed.",
    errno.EROFS: " Make its folder writable.",
    errno.EACCES: " Make its folder writable.",
}


def refused(what: str, error: OSError) -> SessionError:
    """Return an error that says what failed, why, and what to do."""
    return SessionError(f"{what}: {error.strerror}.{_ADVICE.get(error.errno or 0, '')}")
