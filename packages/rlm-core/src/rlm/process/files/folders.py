"""Folders: opened, created, walked and removed."""

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
    """Return a descriptor of a folder. With `make`, missing folders are created, for their owner only.

    Raises:
        OSError: there is no such folder, or a component is a link.
    """
    with named(path):
        names, folder = start_of(path, dir_fd)
        for name in names:
            folder = step_into(folder, name, PASSING, make=make)
        return step_into(folder, ".", FOLDER)


@contextmanager
def opened_folder(path: StrPath) -> Iterator[int]:
    """Open a folder with `open_folder`, and close it at the end."""
    folder = open_folder(path)
    try:
        yield folder
    finally:
        os.close(folder)


def enter(name: str, folder: int) -> int:
    """Return a descriptor of a folder directly inside another one. It takes one step, for walks of large trees.

    Raises:
        OSError: there is no such folder, or it is a link.
    """
    return os.open(name, FOLDER, dir_fd=folder)


def resolve(path: StrPath) -> Path:
    """Return the absolute path, without links, of a path that the user names. Its end need not exist.

    Raises:
        OSError: the links form a cycle, or no file can have this name.
    """
    with named(path):
        parts(path, up=True)
        try:
            return Path(path).resolve()
        except RuntimeError:  # Python 3.11 and 3.12 raise this for a cycle
            raise UnsafePath(errno.ELOOP, "is a symbolic link that leads to itself", str(path)) from None


def make_folder(path: StrPath) -> None:
    """Create a folder that does not exist yet, for its owner only.

    Raises:
        OSError: it exists (`FileExistsError`), or cannot be created.
    """
    with parent_of(path, None) as (folder, name):
        os.mkdir(name, 0o700, dir_fd=folder)


def change_to(path: StrPath) -> None:
    """Make a folder the working directory of this process.

    Raises:
        OSError: there is no such folder, or a component is a link.
    """
    with _held_folder(path) as folder:
        os.fchdir(folder)


@contextmanager
def folder_for_child(path: StrPath) -> Iterator[str]:
    """Yield a path without links that a new process can have as its working directory.

    Raises:
        OSError: as in `change_to`.
    """
    with _held_folder(path) as folder:
        yield f"/proc/self/fd/{folder}" if BY_DESCRIPTOR else os.fspath(path)


@contextmanager
def _held_folder(path: StrPath) -> Iterator[int]:
    """Hold a folder open. It need not be readable."""
    with named(path):
        names, folder = start_of(path, None)
        for name in names:
            folder = step_into(folder, name, PASSING)
    try:
        yield folder
    finally:
        os.close(folder)


def remove_tree(path: StrPath, *, dir_fd: int | None = None) -> None:
    """Remove a folder with all its content, as far as possible."""
    with suppress(OSError), parent_of(path, dir_fd) as (folder, name):
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)


def remove(path: StrPath, *, dir_fd: int | None = None) -> None:
    """Remove a name that is no folder; it may be missing.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError), parent_of(path, dir_fd) as (folder, name):
        os.unlink(name, dir_fd=folder)
