"""Empty folders that stand in the project while a run lasts, where nothing was: only what is there can be covered.

The mode of one says what it is. So one that a killed run has left is removed by the next run, and of two runs in one
folder the last removes it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rlm.process import files

_MODE = 0o1555
"""With the sticky bit, without a right to write: nobody else makes such a folder."""


@contextmanager
def placeholders(paths: Iterable[Path]) -> Iterator[None]:
    """Make what is missing of these. What is there stays, unless a killed run has left it."""
    with ExitStack() as stack:
        for path in paths:
            with suppress(OSError):  # where this user cannot write, no cell can
                stack.enter_context(_placeholder(path))
        yield


@contextmanager
def _placeholder(path: Path) -> Iterator[None]:
    parent = files.open_folder(path.parent)
    try:
        _make(parent, path.name)
        with _held(parent, path.name) as folder:
            yield
            if folder is not None:
                _remove(parent, path.name, folder)
    finally:
        os.close(parent)


def _make(parent: int, name: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, _MODE, dir_fd=parent)
        os.chmod(name, _MODE, dir_fd=parent)  # past the umask


@contextmanager
def _held(parent: int, name: str) -> Iterator[int | None]:
    """A placeholder, shared with other runs; None if it is something else."""
    if os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode != stat.S_IFDIR | _MODE:
        yield None
        return
    folder = files.open_folder(name, dir_fd=parent)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield folder
    finally:
        os.close(folder)


def _remove(parent: int, name: str, folder: int) -> None:
    with suppress(OSError):  # another run has it too, or it is not empty and so not ours
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rmdir(name, dir_fd=parent)
