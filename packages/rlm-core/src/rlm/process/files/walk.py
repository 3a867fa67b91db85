"""The steps of a walk: from one open folder to the next, and the checks before a file is opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rlm.skill.plain import wrong_kind

StrPath = str | os.PathLike[str]

SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PASSING = FOLDER | getattr(os, "O_PATH", getattr(os, "O_SEARCH", 0))
"""A folder that is only passed through need not be readable."""
BY_DESCRIPTOR = hasattr(os, "O_PATH")
"""Linux: an open descriptor has a path in /proc/self/fd."""


class UnsafePath(OSError):
    """The path is refused by the rules of this package. `strerror` says why."""


@contextmanager
def named(path: StrPath) -> Iterator[None]:
    """Make errors name the whole path, not one component."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        del error.filename2  # None would be in the message
        raise


@contextmanager
def parent_of(path: StrPath, dir_fd: int | None) -> Iterator[tuple[int, str]]:
    """Yield a descriptor of the parent folder of `path`, and the last name."""
    with named(path):
        names, folder = start_of(path, dir_fd)
        if not names:
            os.close(folder)
            raise UnsafePath(errno.EISDIR, "is a folder, not a plain file", str(path))
        for name in names[:-1]:
            folder = step_into(folder, name, PASSING)
        try:
            yield folder, names[-1]
        finally:
            os.close(folder)


def parts(path: StrPath, *, up: bool = False) -> list[str]:
    text = os.fspath(path)
    try:
        if b"\0" in os.fsencode(text):
            raise ValueError
    except ValueError:  # also raised for a lone surrogate
        raise UnsafePath(errno.EINVAL, "cannot be the name of a file", text) from None
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names and not up:
        raise UnsafePath(errno.EINVAL, "has `..` in it", text)
    return names


def start_of(path: StrPath, dir_fd: int | None) -> tuple[list[str], int]:
    """Return the components of a path, and a descriptor of the folder that they start from."""
    names = parts(path)
    if os.fspath(path).startswith("/"):
        return names, os.open("/", PASSING)
    return names, os.open(".", PASSING, dir_fd=dir_fd)


def step_into(folder: int, name: str, flags: int, *, make: bool = False) -> int:
    """Open the next folder from one folder, whose descriptor is closed."""
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and _link_or_none(folder, name):
            raise UnsafePath(
                errno.ELOOP, f"is refused: {name} is a symbolic link, which is not followed here"
            ) from None
        raise
    finally:
        os.close(folder)


def link_text(folder: int, name: str) -> str | None:
    """Return the target of a symbolic link; None for anything else."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


def _link_or_none(folder: int, name: str) -> str | None:
    with suppress(OSError):
        return link_text(folder, name)
    return None


def open_plain(folder: int, name: str, flags: int, path: StrPath) -> int:
    """Open a plain file. Check before, since opening a device may have effects, and after: names can change."""
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    _check(os.stat(name, dir_fd=folder, follow_symlinks=False), path, writes=writes)
    file = os.open(name, flags | SAFE, dir_fd=folder)
    try:
        _check(os.fstat(file), path, writes=writes)
    except UnsafePath:
        os.close(file)
        raise
    return file


def _check(status: os.stat_result, path: StrPath, *, writes: bool) -> None:
    if complaint := wrong_kind(status.st_mode):
        raise UnsafePath(errno.ELOOP if stat.S_ISLNK(status.st_mode) else errno.EINVAL, complaint, str(path))
    if status.st_nlink > 1 and (writes or status.st_uid not in (0, os.geteuid())):
        raise UnsafePath(errno.EMLINK, "is a hard link to a file that has other names", str(path))
