"""Create placeholders for missing paths of the project during a run: bwrap can only cover paths that exist.

They are empty folders, and files with content that has no effect. The mode of the folders marks them as placeholders,
so the next run can remove those of a run that was killed. Each run holds a shared lock. If two runs use one folder, the
last one removes the placeholders.
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
"""Sticky, and not writable: no other program creates a folder with this mode."""
_LARGEST = 1_000_000  # maximum bytes of a file that is read


@contextmanager
def placeholders(folders: Iterable[Path], contents: Iterable[tuple[Path, bytes]]) -> Iterator[None]:
    """Create the placeholders for paths that do not exist. Existing paths stay, unless a killed run has left them."""
    with ExitStack() as stack:
        for path in folders:
            with suppress(OSError):  # if this user cannot write here, no cell can
                stack.enter_context(_folder(path))
        stack.enter_context(_files(list(contents)))
        yield


# ---- folders


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    with files.opened_folder(path.parent) as parent:
        with suppress(FileExistsError):
            os.mkdir(path.name, _MODE, dir_fd=parent)
            os.chmod(path.name, _MODE, dir_fd=parent)  # the umask has changed the mode
        with _locked(parent, path.name) as folder:
            yield
            if folder is not None:
                with suppress(OSError):  # another run uses it too, or it is not empty and so not ours
                    _lock_exclusively(folder)
                    os.rmdir(path.name, dir_fd=parent)


@contextmanager
def _locked(parent: int, name: str) -> Iterator[int | None]:
    """Yield the descriptor of a placeholder, with a shared lock; None if it is not a placeholder."""
    if os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode != stat.S_IFDIR | _MODE:
        yield None
        return
    folder = files.open_folder(name, dir_fd=parent)
    try:
        _lock_shared(folder)
        yield folder
    finally:
        os.close(folder)


# ---- files


@contextmanager
def _files(contents: list[tuple[Path, bytes]]) -> Iterator[None]:
    """Create placeholder files. The lock is on the folder that contains them."""
    with ExitStack() as opened:
        folders: dict[Path, int] = {}
        for parent in {path.parent for path, _ in contents}:
            folders[parent] = files.open_folder(parent)
            opened.callback(os.close, folders[parent])
            _lock_shared(folders[parent])
        for path, content in contents:
            with suppress(OSError):  # it exists, or this user cannot write here, and so no cell can
                _write(path, content)
        try:
            yield
        finally:
            for path, content in contents:
                with suppress(OSError):  # another run uses it too, or it was replaced
                    _lock_exclusively(folders[path.parent])
                    if files.read(path.name, dir_fd=folders[path.parent], limit=_LARGEST) == content:
                        files.remove(path.name, dir_fd=folders[path.parent])


def _write(path: Path, content: bytes) -> None:
    file = files.create(path, mode=0o644)
    try:
        files.write_all(file, content)
    finally:
        os.close(file)


# ---- locks


def _lock_shared(descriptor: int) -> None:
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def _lock_exclusively(descriptor: int) -> None:
    """Lock exclusively.

    Raises:
        OSError: another run holds a shared lock.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
