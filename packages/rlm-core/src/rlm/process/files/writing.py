"""Files that are created, copied, or replaced whole."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import shutil
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from rlm.process.files.folders import open_folder
from rlm.process.files.reading import open_file
from rlm.process.files.walk import SAFE, StrPath, UnsafePath, parent_of

_PIECE = 1 << 20
_NEW = os.O_CREAT | os.O_EXCL | SAFE


def create(path: StrPath, flags: int = os.O_RDWR, *, dir_fd: int | None = None, mode: int = 0o600) -> int:
    """Return a descriptor of a new file, for reading and writing.

    Raises:
        OSError: it exists (`FileExistsError`), or cannot be created.
    """
    with parent_of(path, dir_fd) as (folder, name):
        return os.open(name, flags | _NEW, mode, dir_fd=folder)


def create_pipe(path: StrPath) -> int:
    """Create a named pipe. Return a descriptor to read it: never at end of file, since it is also open for writing.

    Raises:
        OSError: as in `create`.
    """
    with parent_of(path, None) as (folder, name):
        os.mkfifo(path, 0o600)  # by path: not every macOS can do it in a folder; the opened file is checked
        pipe = os.open(name, os.O_RDWR | SAFE, dir_fd=folder)
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            os.close(pipe)
            raise UnsafePath(errno.EINVAL, "is not the pipe that was made", str(path))
        return pipe


def write_new(path: StrPath, data: bytes, *, dir_fd: int | None = None) -> None:
    """Create a file with this content.

    Raises:
        OSError: as in `create`; or it cannot be written, and then the partial file is removed.
    """
    with parent_of(path, dir_fd) as (folder, name):
        _make(name, folder, lambda file: write_all(file, data))


def replace(path: StrPath, data: bytes, *, dir_fd: int | None = None) -> None:
    """Replace the content of a file atomically. The file need not exist.

    Raises:
        OSError: it could not be written; the file is unchanged.
    """
    _replace(path, dir_fd, lambda file: write_all(file, data))


def _replace(path: StrPath, dir_fd: int | None, fill: Callable[[int], None]) -> None:
    with parent_of(path, dir_fd) as (folder, name):
        draft = f"{name}.new"
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)  # left by a killed writer
        _make(draft, folder, fill)
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def _make(name: str, folder: int, fill: Callable[[int], None]) -> None:
    """Create a file in a folder, whole or not at all."""
    file = os.open(name, os.O_RDWR | _NEW, 0o600, dir_fd=folder)
    try:
        fill(file)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(file)


def write_all(file: int, data: bytes) -> None:
    """Write to a descriptor until nothing is left."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:  # another process with the same terminal or pipe made it non-blocking
            select.select([], [file], [])


def copy(source: int, target: int) -> None:
    """Write the present content of `source` to `target`; both are descriptors."""
    left = os.fstat(source).st_size
    while left and (piece := os.read(source, min(left, _PIECE))):
        write_all(target, piece)
        left -= len(piece)


def copy_hashed(source: StrPath, target: StrPath, most: int) -> str:
    """Copy a file to a new one, or replace the old one. Return its SHA-256 in hex.

    Raises:
        OSError: it cannot be read or written, or has more than `most` bytes. Then the partial file is removed.
    """
    digest = hashlib.sha256()
    with ExitStack() as opened:
        old = open_file(source)
        opened.callback(os.close, old)
        if os.fstat(old).st_size > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(source))

        def fill(file: int) -> None:
            while piece := os.read(old, _PIECE):
                digest.update(piece)
                write_all(file, piece)

        _replace(target, None, fill)
    return digest.hexdigest()


def copy_tree(source: int, target: int, wanted: Callable[[Path], bool]) -> None:
    """Copy plain files and folders from one folder to another, both descriptors. Vanished files are skipped.

    Each folder is opened again from the top, so that a deep tree does not need a descriptor for each level. `wanted` is
    called with each relative path. Copies are for their owner only, like all new files.

    Raises:
        OSError: something cannot be read or written.
    """
    folders = [Path()]
    while folders:
        here = folders.pop()
        with ExitStack() as opened:
            try:
                old = open_folder(here, dir_fd=source)
            except FileNotFoundError:
                continue
            opened.callback(os.close, old)
            new = open_folder(here, dir_fd=target, make=True)
            opened.callback(os.close, new)
            for name in os.listdir(old):  # noqa: PTH208 - by descriptor
                if wanted(here / name) and _copy_entry(name, old, new):
                    folders.append(here / name)


def _copy_entry(name: str, old: int, new: int) -> bool:
    """Copy a plain file. Return whether it is a folder; other kinds are skipped."""
    with suppress(FileNotFoundError):
        kind = os.stat(name, dir_fd=old, follow_symlinks=False).st_mode
        if stat.S_ISREG(kind):
            with ExitStack() as opened:
                source = open_file(name, dir_fd=old)
                opened.callback(os.close, source)
                target = create(name, dir_fd=new)
                opened.callback(os.close, target)
                copy(source, target)
        return stat.S_ISDIR(kind)
    return False


def copy_working_tree(source: StrPath, target: StrPath, without: StrPath) -> None:
    """Copy a folder of the user's (a path without links) to a new one, with links as links, modes and times.

    The folder `without`, which may be in it, is left out, like everything that is no file, folder or link.

    Raises:
        OSError: something cannot be read or written.
    """
    left_out = Path(without)

    def unwanted(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder, name) == left_out or not _is_copied(Path(folder, name))]

    try:
        shutil.copytree(source, target, symlinks=True, ignore=unwanted)
    except shutil.Error as error:  # it collects the errors of many files
        path, _, reason = error.args[0][0]
        raise OSError(errno.EIO, str(reason), str(path)) from None


def _is_copied(path: Path) -> bool:
    kind = path.lstat().st_mode
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)
