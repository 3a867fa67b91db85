"""Folders that a planted symbolic link cannot lead elsewhere: each step is taken from the one before, by descriptor."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rlm.errors import SessionError

IGNORE = b"*\n"
"""Sessions are not for version control."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_sessions(home: Path, cwd: Path, *, make: bool = True) -> int:
    """A descriptor of `home`/sessions, made if it is missing. Both paths are absolute.

    No link is followed below `cwd`, for others may have put files there; nor below `home`.

    Raises:
        SessionError: it cannot be opened or made, or a link stands in the way.
    """
    below = home.is_relative_to(cwd)
    try:
        if make and not below:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _descend(cwd, home.relative_to(cwd).parts, make) if below else _descend(home, (), make)
    except OSError as error:
        raise SessionError(
            f"Sessions cannot be kept in {home}: {error.strerror}. Set RLM_HOME to a folder that you can write to."
        ) from None


def _descend(base: Path, steps: tuple[str, ...], make: bool) -> int:
    folder = os.open(base, _FOLDER)
    for step in steps:
        folder = _step(folder, step, make)
    if make:
        _ignore(folder)
    folder = _step(folder, "sessions", make)
    if make:
        _ignore(folder)
    return folder


def _step(folder: int, name: str, make: bool) -> int:
    try:
        return enter(folder, name, make=make)
    finally:
        os.close(folder)


def _ignore(folder: int) -> None:
    """Keep a folder that is new out of version control. One that holds other things is the user's affair."""
    if not os.listdir(folder):
        with suppress(FileExistsError):  # another run was quicker
            write_new(folder, ".gitignore", IGNORE)


def enter(folder: int, name: str, *, make: bool = False) -> int:
    """A descriptor of the folder `name` in `folder`; with `make` it is made, for its owner alone, if it is missing.

    Raises:
        SessionError: `name` is a symbolic link.
        OSError: there is no such folder, or it cannot be made.
    """
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise SessionError(
                f"{name} is a symbolic link, and sessions are not written through one. Remove it, or set RLM_HOME."
            ) from None
        raise


def new_folder(folder: int, prefix: str, length: int) -> tuple[str, int]:
    """Make a folder with a random name of `length` bytes in hex in `folder`; its name, and a descriptor of it.

    Raises:
        SessionError: it cannot be made.
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
    return SessionError(f"No session can be made: {error.strerror}. Set RLM_HOME to a folder that you can write to.")


_ROOM = " Make room on the disk and resume it."
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: " Allow larger files (ulimit -f) and resume it.",
    errno.ENOENT: " Somebody has removed its folder.",
    errno.EROFS: " Make its folder writable.",
    errno.EACCES: " Make its folder writable.",
}


def refused(what: str, error: OSError) -> SessionError:
    """That something cannot be done to a session, why, and what to do."""
    return SessionError(f"{what}: {error.strerror}.{_ADVICE.get(error.errno or 0, '')}")


def write_new(folder: int, name: str, data: bytes) -> None:
    """A new file for its owner alone.

    Raises:
        OSError: it exists, or cannot be written; what was begun is gone then.
    """
    file = os.open(name, _NEW, 0o600, dir_fd=folder)
    try:
        write_all(file, data)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(file)


def write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def open_regular(path: Path | str, start: int = 0) -> BinaryIO:
    """A plain file, open for reading at byte `start`. No link is followed, and a pipe in its place is not waited for.

    Raises:
        OSError: there is no such file.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{path} is not a plain file")
    os.lseek(file, start, os.SEEK_SET)
    return os.fdopen(file, "rb")


def read_regular(path: Path | str, limit: int | None = None) -> bytes:
    """The content of such a file. With a `limit` in bytes, one that holds more is refused.

    Raises:
        OSError: there is no such file.
    """
    with open_regular(path) as stream:
        if limit is not None and os.fstat(stream.fileno()).st_size > limit:
            raise OSError(f"{path} is larger than {limit:,} bytes")
        return stream.read()
