"""Files that are made, copied, or replaced whole."""

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

from rlm.process.files.folders import open_folder, remove
from rlm.process.files.reading import open_file
from rlm.process.files.walk import SAFE, StrPath, UnsafePath, parent_of

_PIECE = 1 << 20


def create(path: StrPath, flags: int = os.O_RDWR, *, dir_fd: int | None = None, mode: int = 0o600) -> int:
    """A descriptor of a file that is new, to read and write.

    Raises:
        OSError: it exists (`FileExistsError`), or cannot be made.
    """
    with parent_of(path, dir_fd) as (folder, name):
        return os.open(name, flags | os.O_CREAT | os.O_EXCL | SAFE, mode, dir_fd=folder)


def create_pipe(path: StrPath) -> int:
    """A descriptor to read a pipe with a name that is new. It never comes to an end, since it could write, too.

    Raises:
        OSError: as `create`.
    """
    with parent_of(path, None) as (folder, name):
        os.mkfifo(path, 0o600)  # by path: not every macOS can do it in a folder; what is opened is looked at
        pipe = os.open(name, os.O_RDWR | SAFE, dir_fd=folder)
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            os.close(pipe)
            raise UnsafePath(errno.EINVAL, "is not the pipe that was made", str(path))
        return pipe


def write_new(path: StrPath, data: bytes, *, dir_fd: int | None = None) -> None:
    """Make a file with this content.

    Raises:
        OSError: as `create`; or it cannot be written, and what was begun is gone then.
    """
    with parent_of(path, dir_fd) as (folder, name):
        _make(name, folder, lambda file: write_all(file, data))


def replace(path: StrPath, data: bytes, *, dir_fd: int | None = None) -> None:
    """Make this the content of a file, which may exist: at once or not at all.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    _replace(path, dir_fd, lambda file: write_all(file, data))


def replace_with(path: StrPath, source: int, *, dir_fd: int | None = None) -> None:
    """As `replace`, with what `source` holds now, a descriptor."""
    _replace(path, dir_fd, lambda file: copy(source, file))


def _replace(path: StrPath, dir_fd: int | None, fill: Callable[[int], None]) -> None:
    with parent_of(path, dir_fd) as (folder, name):
        draft = f"{name}.new"
        remove(draft, dir_fd=folder)  # what a killed writer left
        _make(draft, folder, fill)
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def _make(name: str, folder: int, fill: Callable[[int], None]) -> None:
    """A new file in a folder, whole or not at all."""
    file = create(name, dir_fd=folder)
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
        except BlockingIOError:  # somebody who shares a terminal or pipe with us made it so
            select.select([], [file], [])


def copy(source: int, target: int) -> None:
    """Write to `target` what `source` holds now; both are descriptors."""
    left = os.fstat(source).st_size
    while left and (piece := os.read(source, min(left, _PIECE))):
        write_all(target, piece)
        left -= len(piece)


def copy_hashed(source: StrPath, target: StrPath, most: int) -> str:
    """Copy a file to a new one, or in place of what has its name; the SHA-256 of it, in hex.

    Raises:
        OSError: it cannot be read or written, or has more than `most` bytes. What was begun is gone then.
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
    """Copy plain files and folders from one folder to another, both descriptors. What is gone meanwhile is left out.

    Each folder is opened anew from the top, so that a deep tree does not take a descriptor for each of its levels.
    `wanted` is asked for each path, which is relative. Copies are for their owner alone, as all that is made.

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
    """A plain file. Whether it is a folder instead; all else is left out."""
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
    """Copy a folder of the user's, whose path has no links, to a new one: with links as links, modes and times.

    `without` is left out, a folder that may be in it, and what is neither a file, a folder nor a link.

    Raises:
        OSError: something cannot be read or written.
    """
    left_out = Path(without)

    def unwanted(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder, name) == left_out or not _is_copied(Path(folder, name))]

    try:
        shutil.copytree(source, target, symlinks=True, ignore=unwanted)
    except shutil.Error as error:  # of many files
        path, _, reason = error.args[0][0]
        raise OSError(errno.EIO, str(reason), str(path)) from None


def _is_copied(path: Path) -> bool:
    kind = path.lstat().st_mode
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)
