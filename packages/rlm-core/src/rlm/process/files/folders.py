"""Folders: opened, made, walked and removed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlm.process.files.walk import (
    BY_DESCRIPTOR,
    FOLDER,
    PASSING,
    StrPath,
    UnsafePath,
    named,
    parent_of,
    parts,
    start_of,
    step_into,
)


def open_folder(path: StrPath, *, dir_fd: int | None = None, make: bool = False) -> int:
    """A descriptor of a folder. With `make`, folders that are missing are made, for their owner alone.

    Raises:
        OSError: there is no such folder, or a link stands in the way.
    """
    with named(path):
        names, folder = start_of(path, dir_fd)
        for name in names:
            folder = step_into(folder, name, PASSING, make=make)
        return step_into(folder, ".", FOLDER)


@contextmanager
def opened_folder(path: StrPath) -> Iterator[int]:
    """`open_folder`, closed at the end."""
    folder = open_folder(path)
    try:
        yield folder
    finally:
        os.close(folder)


def enter(name: str, folder: int) -> int:
    """A descriptor of a folder that lies directly in another one; in one step, for those who walk large trees.

    Raises:
        OSError: there is no such folder, or it is a link.
    """
    return os.open(name, FOLDER, dir_fd=folder)


def resolve(path: StrPath) -> Path:
    """The absolute path without links of what the user names by `path`; the end of it need not exist.

    Raises:
        OSError: the links go in a circle, or no file can have this name.
    """
    with named(path):
        parts(path, up=True)
        try:
            return Path(path).resolve()
        except RuntimeError:  # Python 3.11 and 3.12 say so of a circle
            raise UnsafePath(errno.ELOOP, "is a symbolic link that leads to itself", str(path)) from None


def make_folder(path: StrPath) -> None:
    """A folder that is new, for its owner alone.

    Raises:
        OSError: it exists (`FileExistsError`), or cannot be made.
    """
    with parent_of(path, None) as (folder, name):
        os.mkdir(name, 0o700, dir_fd=folder)


def change_to(path: StrPath) -> None:
    """Make a folder the working directory of this process.

    Raises:
        OSError: there is no such folder, or a link stands in the way.
    """
    with _held_folder(path) as folder:
        os.fchdir(folder)


@contextmanager
def folder_for_child(path: StrPath) -> Iterator[str]:
    """A path that a process which is started now can be given as its working directory: no link is on its way.

    Raises:
        OSError: as `change_to`.
    """
    with _held_folder(path) as folder:
        yield f"/proc/self/fd/{folder}" if BY_DESCRIPTOR else os.fspath(path)


@contextmanager
def _held_folder(path: StrPath) -> Iterator[int]:
    """It need not be readable."""
    with named(path):
        names, folder = start_of(path, None)
        for name in names:
            folder = step_into(folder, name, PASSING)
    try:
        yield folder
    finally:
        os.close(folder)


def remove_tree(path: StrPath, *, dir_fd: int | None = None) -> None:
    """Remove a folder with all that is in it, as far as possible."""
    with suppress(OSError), parent_of(path, dir_fd) as (folder, name):
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)


def remove(path: StrPath, *, dir_fd: int | None = None) -> None:
    """Remove a name that is no folder; it may be missing.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError), parent_of(path, dir_fd) as (folder, name):
        os.unlink(name, dir_fd=folder)
