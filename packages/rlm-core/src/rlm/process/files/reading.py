"""What exists: opened and read, connected to, or held to be mounted."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlm.process.files.walk import (
    BY_DESCRIPTOR,
    PASSING,
    StrPath,
    UnsafePath,
    link_text,
    named,
    open_plain,
    parent_of,
    parts,
)

_BLOCK = 1 << 16
_MOST_LINKS = 40  # as Linux has it, path_resolution(7)


def open_file(path: StrPath, flags: int = os.O_RDONLY, *, dir_fd: int | None = None) -> int:
    """A descriptor of a plain file that exists; for reading, unless `flags` say more.

    Raises:
        OSError: there is no such file, or something else has its place.
    """
    with parent_of(path, dir_fd) as (folder, name):
        return open_plain(folder, name, flags, path)


def read(path: StrPath, *, dir_fd: int | None = None, start: int = 0, limit: int | None = None) -> bytes:
    """What a plain file holds from byte `start`. With a `limit` in bytes, a file that holds more is refused.

    Raises:
        OSError: as `open_file`; or it is too large.
    """
    return _take(open_file(path, dir_fd=dir_fd), path, start, limit)


def read_in(folder: int, name: str, limit: int) -> bytes:
    """As `read` for a file that lies directly in a folder, a descriptor; for those who read thousands.

    Raises:
        OSError: as `read`.
    """
    file = open_plain(folder, name, os.O_RDONLY, name)
    try:
        pieces = [os.read(file, _BLOCK)]
        while len(pieces[-1]) == _BLOCK and len(pieces) * _BLOCK <= limit:
            pieces.append(os.read(file, _BLOCK))
    finally:
        os.close(file)
    if sum(map(len, pieces)) > limit:
        raise UnsafePath(errno.EFBIG, f"is larger than {limit:,} bytes", name)
    return b"".join(pieces)


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


def read_beneath(folder: int, path: StrPath, *, root: Path | None = None, limit: int | None = None) -> bytes:
    """What the plain file `path` below `folder` holds, a descriptor. Links are followed while they stay in the folder.

    `root` is the path of `folder`: with it, absolute links are followed that lead to somewhere in it.

    Raises:
        OSError: as `read`; or a link leads out of the folder.
    """
    with _parent_beneath(folder, path, root) as (inner, name):
        return _take(open_plain(inner, name, os.O_RDONLY, path), path, 0, limit)


@contextmanager
def _parent_beneath(folder: int, path: StrPath, root: Path | None) -> Iterator[tuple[int, str]]:
    """As `parent_of`, links followed: their texts are walked too. `..` leads back to the folder that we came from."""
    with named(path), contextlib.ExitStack() as opened:
        names, links = deque(parts(path, up=True)), 0
        trail = [folder]
        while names:
            name = names.popleft()
            if name == "..":
                if len(trail) == 1:
                    raise _leads_out(path)
                trail.pop()
            elif (target := link_text(trail[-1], name)) is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise UnsafePath(errno.ELOOP, "is a symbolic link that leads to itself", str(path))
                trail = trail[:1] if target.startswith("/") else trail
                names.extendleft(reversed(_within(target, root, path)))
            elif names:
                trail.append(os.open(name, PASSING, dir_fd=trail[-1]))
                opened.callback(os.close, trail[-1])
            else:
                yield trail[-1], name
                return
        raise UnsafePath(errno.EISDIR, "is a folder, not a plain file", str(path))


def _within(target: str, root: Path | None, path: StrPath) -> list[str]:
    """The components of a link's text, counted from `root` if it is absolute."""
    if not target.startswith("/"):
        return parts(target, up=True)
    if root is None or not Path(target).is_relative_to(root):
        raise _leads_out(path)
    return list(Path(target).relative_to(root).parts)


def _leads_out(path: StrPath) -> UnsafePath:
    return UnsafePath(errno.EXDEV, "is a symbolic link that leads out of the folder", str(path))


def socket_place(path: StrPath, opened: contextlib.ExitStack) -> str:
    """Where to connect to a socket of this user: to what has this name now, until `opened` is closed.

    Raises:
        OSError: there is none, or something else has its place.
    """
    with parent_of(path, None) as (folder, name):
        if not BY_DESCRIPTOR:
            _check_socket(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
            return os.fspath(path)
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        opened.callback(os.close, held)
        _check_socket(os.fstat(held), path)
        return f"/proc/self/fd/{held}"


def _check_socket(status: os.stat_result, path: StrPath) -> None:
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid():
        raise UnsafePath(errno.ENOTSOCK, "is not a socket of this user", str(path))


def open_any(path: StrPath) -> int:
    """A descriptor of a file or folder of any kind but a link, which says where it is and no more (O_PATH).

    It can be mounted, and need not be readable. For Linux.

    Raises:
        OSError: there is none, or a link stands in the way (`UnsafePath` with ELOOP).
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    if not parts(path):
        return os.open("/", flags)
    with parent_of(path, None) as (folder, name):
        held = os.open(name, flags, dir_fd=folder)
        if stat.S_ISLNK(os.fstat(held).st_mode):
            os.close(held)
            raise UnsafePath(errno.ELOOP, "is a symbolic link, which is not followed here", str(path))
        return held
