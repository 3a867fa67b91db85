"""The one module that opens files and folders for the host.

A cell can change every name in a folder that it can write: it can put a link, a pipe or a device where a file was. So
the host opens files by these rules, and nowhere else:

1. No link is followed. A path is walked one component at a time, from the root or from a folder that is held open
   (`dir_fd`), each step from the descriptor of the one before.
2. What is opened is a plain file or a folder. A link, a pipe, a socket or a device in its place is an `UnsafePath`. It
   is not opened first, so nothing waits for a pipe and no device notices. Opening never blocks.
3. A file with several names (hard links) is not written to, and not read if it is another user's.
4. A new file is for its owner alone and never one that exists. An existing file is replaced whole: a new one is written
   beside it and takes its name. Both happen in a folder that is held open.
5. Reading ends where the file ended when it was opened, so a file that grows meanwhile does not keep us.
6. A path that the user names may have links in it. `resolve` follows them once, before the first cell runs; what is
   used later is the result, by rule 1.
7. In a project, links to files of the same project are common (CLAUDE.md -> AGENTS.md). `read_beneath` follows them as
   long as they stay in the folder.

All failures are `OSError`s that name the path. Standard library only, and one module of rlm-skill: the kernel's side
uses it too.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import select
import shutil
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm.skill.plain import wrong_kind

StrPath = str | os.PathLike[str]

_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A folder that is only passed through need not be readable.
_PASSING = _FOLDER | getattr(os, "O_PATH", getattr(os, "O_SEARCH", 0))
_BY_DESCRIPTOR = hasattr(os, "O_PATH")
"""Linux: what a descriptor was opened for has a path, in /proc/self/fd."""
_PIECE = 1 << 20
_BLOCK = 1 << 16
_MOST_LINKS = 40  # as Linux has it, path_resolution(7)


class UnsafePath(OSError):
    """The path is refused by the rules above. `strerror` says why."""


# ---- folders


def open_folder(path: StrPath, *, dir_fd: int | None = None, make: bool = False) -> int:
    """A descriptor of a folder. With `make`, folders that are missing are made, for their owner alone.

    Raises:
        OSError: there is no such folder, or a link stands in the way.
    """
    with _named(path):
        names, folder = _start(path, dir_fd)
        for name in names:
            folder = _enter(folder, name, _PASSING, make=make)
        return _enter(folder, ".", _FOLDER)


def enter(name: str, folder: int) -> int:
    """A descriptor of a folder that lies directly in another one; in one step, for those who walk large trees.

    Raises:
        OSError: there is no such folder, or it is a link.
    """
    return os.open(name, _FOLDER, dir_fd=folder)


def resolve(path: StrPath) -> Path:
    """The absolute path without links of what the user names by `path`; the end of it need not exist.

    Raises:
        OSError: the links go in a circle, or no file can have this name.
    """
    with _named(path):
        _parts(path)
        try:
            return Path(path).resolve()
        except RuntimeError:  # Python 3.11 and 3.12 say so of a circle
            raise UnsafePath(errno.ELOOP, "is a symbolic link that leads to itself", str(path)) from None


def make_folder(path: StrPath) -> None:
    """A folder that is new, for its owner alone.

    Raises:
        OSError: it exists (`FileExistsError`), or cannot be made.
    """
    with _parent(path, None) as (folder, name):
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
        yield f"/proc/self/fd/{folder}" if _BY_DESCRIPTOR else os.fspath(path)


@contextmanager
def _held_folder(path: StrPath) -> Iterator[int]:
    """It need not be readable."""
    with _named(path):
        names, folder = _start(path, None)
        for name in names:
            folder = _enter(folder, name, _PASSING)
    try:
        yield folder
    finally:
        os.close(folder)


def remove_tree(path: StrPath, *, dir_fd: int | None = None) -> None:
    """Remove a folder with all that is in it, as far as possible."""
    with suppress(OSError), _parent(path, dir_fd) as (folder, name):
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)


def remove(path: StrPath, *, dir_fd: int | None = None) -> None:
    """Remove a name that is no folder; it may be missing.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(FileNotFoundError), _parent(path, dir_fd) as (folder, name):
        os.unlink(name, dir_fd=folder)


# ---- files


def open_file(path: StrPath, flags: int = os.O_RDONLY, *, dir_fd: int | None = None) -> int:
    """A descriptor of a plain file that exists; for reading, unless `flags` say more.

    Raises:
        OSError: there is no such file, or something else has its place.
    """
    with _parent(path, dir_fd) as (folder, name):
        return _open_plain(folder, name, flags, path)


def read(path: StrPath, *, dir_fd: int | None = None, start: int = 0, limit: int | None = None) -> bytes:
    """What a plain file holds from byte `start`. With a `limit` in bytes, a file that holds more is refused.

    Raises:
        OSError: as `open_file`; or it is too large.
    """
    return _take(open_file(path, dir_fd=dir_fd), path, start, limit)


def read_beneath(folder: int, path: StrPath, *, root: Path | None = None, limit: int | None = None) -> bytes:
    """What the plain file `path` below `folder` holds, a descriptor. Links are followed while they stay in the folder.

    `root` is the path of `folder`: with it, absolute links are followed that lead to somewhere in it.

    Raises:
        OSError: as `read`; or a link leads out of the folder.
    """
    with _parent_beneath(folder, path, root) as (inner, name):
        return _take(_open_plain(inner, name, os.O_RDONLY, path), path, 0, limit)


def socket_place(path: StrPath, opened: contextlib.ExitStack) -> str:
    """Where to connect to a socket of this user: to what has this name now, until `opened` is closed.

    Raises:
        OSError: there is none, or something else has its place.
    """
    with _parent(path, None) as (folder, name):
        if not _BY_DESCRIPTOR:
            _check_socket(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
            return os.fspath(path)
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        opened.callback(os.close, held)
        _check_socket(os.fstat(held), path)
        return f"/proc/self/fd/{held}"


def _check_socket(status: os.stat_result, path: StrPath) -> None:
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
        raise UnsafePath(errno.ENOTSOCK, "is not a socket of this user", str(path))


def create(path: StrPath, flags: int = os.O_RDWR, *, dir_fd: int | None = None, mode: int = 0o600) -> int:
    """A descriptor of a file that is new, to read and write.

    Raises:
        OSError: it exists (`FileExistsError`), or cannot be made.
    """
    with _parent(path, dir_fd) as (folder, name):
        return os.open(name, flags | os.O_CREAT | os.O_EXCL | _SAFE, mode, dir_fd=folder)


def create_pipe(path: StrPath) -> int:
    """A descriptor to read a pipe with a name that is new. It never comes to an end, since it could write, too.

    Raises:
        OSError: as `create`.
    """
    with _parent(path, None) as (folder, name):
        os.mkfifo(path, 0o600)  # by path: not every macOS can do it in a folder; what is opened is looked at
        pipe = os.open(name, os.O_RDWR | _SAFE, dir_fd=folder)
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            os.close(pipe)
            raise UnsafePath(errno.EINVAL, "is not the pipe that was made", str(path))
        return pipe


def write_new(path: StrPath, data: bytes, *, dir_fd: int | None = None) -> None:
    """Make a file with this content.

    Raises:
        OSError: as `create`; or it cannot be written, and what was begun is gone then.
    """
    with _parent(path, dir_fd) as (folder, name):
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
    with _parent(path, dir_fd) as (folder, name):
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


class Replacement:
    """A file that is written later: what happens to its path until then does not matter.

    Its folder is held open, and itself if it exists. `commit` writes a new file in that folder and gives it the name.
    Where the folder takes no new files, or does not let the old one go (a file that is mounted), the old one is
    overwritten in place. So is a device such as /dev/null: only root can make those, and users name them.
    """

    def __init__(self, path: StrPath) -> None:
        """
        Raises:
            OSError: it cannot be written, or something other than a plain file has this name.
        """
        self._path = path
        with contextlib.ExitStack() as opened:
            self._folder, self._name = opened.enter_context(_parent(path, None))
            self._device = False
            self._old = self._open_old(opened)
            if not self._device:
                self._try()
            self._open = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._open.close()

    def commit(self, data: bytes | Iterable[bytes]) -> None:
        """Write the file: bytes, or pieces of it, which are asked for one at a time.

        Raises:
            OSError: it could not be written.
        """
        pieces = iter([data] if isinstance(data, bytes) else data)
        with _named(self._path):
            try:
                if not self._device:
                    self._replace(pieces)
                    return
            except OSError as error:
                if self._old is None or error.errno not in _NOT_REPLACED:
                    raise
                os.ftruncate(self._old, 0)
            assert self._old is not None, "a device is open"
            for piece in pieces:
                write_all(self._old, piece)

    def _open_old(self, opened: contextlib.ExitStack) -> int | None:
        try:
            status = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            self._device = stat.S_ISCHR(status.st_mode)
            if self._device:
                old = os.open(self._name, os.O_WRONLY | _SAFE, dir_fd=self._folder)
            else:
                old = _open_plain(self._folder, self._name, os.O_WRONLY, self._path)
        except FileNotFoundError:
            return None
        opened.callback(os.close, old)
        return old

    def _try(self) -> None:
        """See that the folder takes a file. It does not stay: a cell might find it, and `git add` it."""
        try:
            with self._draft():
                pass
        except OSError:
            if self._old is None:
                raise

    def _replace(self, pieces: Iterator[bytes]) -> None:
        with self._draft() as (draft, new):
            if self._old is not None:
                _look_like(os.fstat(self._old), new)
            for piece in pieces:
                write_all(new, piece)
            try:
                os.rename(draft, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            except OSError as error:
                if self._old is None or error.errno not in _NOT_REPLACED:
                    raise
                os.ftruncate(self._old, 0)  # it does not go; the pieces are used up, but the draft has them
                os.lseek(new, 0, os.SEEK_SET)
                copy(new, self._old)

    @contextmanager
    def _draft(self) -> Iterator[tuple[str, int]]:
        """A new file, for everybody whom the umask allows; gone afterwards unless it has been renamed."""
        draft = f".rlm-{secrets.token_hex(8)}.new"
        new = create(draft, dir_fd=self._folder, mode=0o666)
        try:
            yield draft, new
        finally:
            os.close(new)
            remove(draft, dir_fd=self._folder)


_NOT_REPLACED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)


def _look_like(old: os.stat_result, new: int) -> None:
    with suppress(OSError):
        os.fchown(new, old.st_uid, old.st_gid)
    os.fchmod(new, stat.S_IMODE(old.st_mode))


# ---- one step at a time


@contextmanager
def _named(path: StrPath) -> Iterator[None]:
    """Errors speak of the whole path, not of the component that was looked at."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = os.fspath(path), None
        raise


@contextmanager
def _parent(path: StrPath, dir_fd: int | None) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that holds `path`, and the last name."""
    with _named(path):
        names, folder = _start(path, dir_fd)
        if not names:
            os.close(folder)
            raise UnsafePath(errno.EISDIR, "is a folder, not a plain file", str(path))
        for name in names[:-1]:
            folder = _enter(folder, name, _PASSING)
        try:
            yield folder, names[-1]
        finally:
            os.close(folder)


@contextmanager
def _parent_beneath(folder: int, path: StrPath, root: Path | None) -> Iterator[tuple[int, str]]:
    """As `_parent`, links followed: their texts are walked too. `..` is taken from the folders that we came through."""
    with _named(path), contextlib.ExitStack() as opened:
        names, links = deque(_parts(path, up=True)), 0
        trail = [folder]
        while names:
            name = names.popleft()
            if name == "..":
                if len(trail) == 1:
                    raise _leads_out(path)
                trail.pop()
            elif (target := _link(trail[-1], name)) is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise UnsafePath(errno.ELOOP, "is a symbolic link that leads to itself", str(path))
                trail = trail[:1] if target.startswith("/") else trail
                names.extendleft(reversed(_within(target, root, path)))
            elif names:
                trail.append(os.open(name, _PASSING, dir_fd=trail[-1]))
                opened.callback(os.close, trail[-1])
            else:
                yield trail[-1], name
                return
        raise UnsafePath(errno.EISDIR, "is a folder, not a plain file", str(path))


def _within(target: str, root: Path | None, path: StrPath) -> list[str]:
    """The components of a link's text, counted from `root` if it is absolute."""
    if not target.startswith("/"):
        return _parts(target, up=True)
    if root is None or not Path(target).is_relative_to(root):
        raise _leads_out(path)
    return list(Path(target).relative_to(root).parts)


def _leads_out(path: StrPath) -> UnsafePath:
    return UnsafePath(errno.EXDEV, "is a symbolic link that leads out of the folder", str(path))


def _link(folder: int, name: str) -> str | None:
    """The text of a symbolic link; None for anything else."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None


def _parts(path: StrPath, *, up: bool = False) -> list[str]:
    text = os.fspath(path)
    try:
        if b"\0" in os.fsencode(text):
            raise ValueError
    except ValueError:  # as is a lone surrogate
        raise UnsafePath(errno.EINVAL, "is a name that no file can have", text) from None
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names and not up:
        raise UnsafePath(errno.EINVAL, "has `..` in it", text)
    return names


def _start(path: StrPath, dir_fd: int | None) -> tuple[list[str], int]:
    """The components of a path, and a descriptor of the folder that they start from."""
    names = _parts(path)
    if os.fspath(path).startswith("/"):
        return names, os.open("/", _PASSING)
    return names, os.open(".", _PASSING, dir_fd=dir_fd)


def _enter(folder: int, name: str, flags: int, *, make: bool = False) -> int:
    """From one folder, whose descriptor is closed, to the next."""
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


def _link_or_none(folder: int, name: str) -> str | None:
    with suppress(OSError):
        return _link(folder, name)
    return None


def _open_plain(folder: int, name: str, flags: int, path: StrPath) -> int:
    """Looked at first, since opening a device may do something. Looked at again, since names can change meanwhile."""
    writes = flags & os.O_ACCMODE != os.O_RDONLY
    _check(os.stat(name, dir_fd=folder, follow_symlinks=False), path, writes=writes)
    file = os.open(name, flags | _SAFE, dir_fd=folder)
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


def _take(file: int, path: StrPath, start: int, limit: int | None) -> bytes:
    with os.fdopen(file, "rb", buffering=0) as stream:
        if start:
            stream.seek(start)
        most = max(0, os.fstat(file).st_size - start) if limit is None else limit + 1
        data = _read_up_to(stream, most)
    if limit is None:
        return data
    if len(data) > limit:
        raise UnsafePath(errno.EFBIG, f"is larger than {limit:,} bytes", str(path))
    return data


def _read_up_to(stream: io.FileIO, most: int) -> bytes:
    """In pieces: room for all that would be allowed costs more than to read a small file."""
    pieces, left = [], most
    while left > 0 and (piece := stream.read(min(left, _BLOCK))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
