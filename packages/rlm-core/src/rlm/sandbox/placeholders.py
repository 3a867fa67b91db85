"""What stands in the project while a run lasts, where nothing was: only what is there can be covered by a sandbox.

A placeholder is a folder without content, or a file with content that has no effect; its mode says that it is one. So
what a killed run has left is removed by the next, and of two runs in one folder the last removes it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rlm.errors import ConfigError
from rlm.process import files

_FOLDER_MODE, _FILE_MODE = 0o1555, 0o1444
"""With the sticky bit, without a right to write: nobody else makes such."""


@contextmanager
def placeholders(folders: Iterable[Path], contents: Iterable[tuple[Path, bytes]]) -> Iterator[None]:
    """Make what is missing of these. What is there stays, unless a killed run has left it.

    A folder that would hold one must be there, else that is left out.

    Raises:
        ConfigError: it cannot be made.
    """
    with ExitStack() as stack:
        for path, content in (*((folder, None) for folder in folders), *contents):
            if path.parent.is_dir():
                stack.enter_context(_placeholder(path, content))
        yield


@contextmanager
def _placeholder(path: Path, content: bytes | None) -> Iterator[None]:
    try:
        parent = files.open_folder(path.parent)
    except OSError as error:
        raise _refusal(path, error) from None
    try:
        _make(parent, path, content)
        if not _is_placeholder(parent, path.name):
            yield
            return
        held = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
            yield
            _remove(parent, path.name, held)
        finally:
            os.close(held)
    finally:
        os.close(parent)


def _make(parent: int, path: Path, content: bytes | None) -> None:
    try:
        if content is None:
            os.mkdir(path.name, _FOLDER_MODE, dir_fd=parent)
        else:
            files.write_new(path.name, content, dir_fd=parent)
        os.chmod(path.name, _FOLDER_MODE if content is None else _FILE_MODE, dir_fd=parent)  # past the umask
    except FileExistsError:
        pass
    except OSError as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"The sandbox cannot protect {path}: {error.strerror}.")


def _is_placeholder(parent: int, name: str) -> bool:
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    return mode in (stat.S_IFDIR | _FOLDER_MODE, stat.S_IFREG | _FILE_MODE)


def _remove(parent: int, name: str, held: int) -> None:
    with suppress(OSError):  # another run has it too, or it is not what it was
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(held).st_mode):
            os.rmdir(name, dir_fd=parent)
        elif os.path.samestat(os.fstat(held), os.stat(name, dir_fd=parent, follow_symlinks=False)):
            os.unlink(name, dir_fd=parent)
