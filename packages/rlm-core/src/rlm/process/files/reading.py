"""Access to existing files: open, read, connect to a socket, hold for a mount."""

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
_MOST_LINKS = 40  # as in Linux, path_resolution(7)


def open_file(path: StrPath, flags: int = os.O_RDONLY, *, dir_fd: int | None = None) -> int:
    """Return a descriptor of an existing plain file; for reading, unless `flags` say more.

    Raises:
        OSError: there is no such file, or it is no plain file.
    """
    with parent_of(path, dir_fd) as (folder, name):
        return open_plain(folder, name, flags, path)


def read(path: StrPath, *, dir_fd: int | None = None, start: int = 0, limit: int | None = None) -> bytes:
    """Return the content of a plain file from byte `start`. With a `limit` in bytes, a larger file is refused.

    Raises:
        OSError: as in `open_file`; or it is too large.
    """
    return _take(open_file(path, dir_fd=dir_fd), path, start, limit)


def read_in(folder: int, name: str, limit: int) -> bytes:
    """Read a file directly inside a folder (a descriptor), as `read` does; for reading thousands of files.

    Raises:
        OSError: as in `read`.
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
    """Read in blocks: a buffer of the maximum size costs more than reading a small file."""
    pieces, left = [], most
    while left > 0 and (piece := stream.read(min(left, _BLOCK))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_beneath(folder: int, path: StrPath, *, root: Path | None = None, limit: int | None = None) -> bytes:
    """Return the content of the plain file `path` below `folder`, a descriptor. Links may not leave the folder.

    `root` is the path of `folder`: with it, absolute links into the folder are followed too.

    Raises:
        OSError: as in `read`; or a link leads out of the folder.
    """
    with _parent_beneath(folder, path, root) as (inner, name):
        return _take(open_plain(inner, name, os.O_RDONLY, path), path, 0, limit)


@contextmanager
def _parent_beneath(folder: int, path: StrPath, root: Path | None) -> Iterator[tuple[int, str]]:
    """Act as `parent_of`, but follow links by walking their targets. `..` leads to the folder that we came from."""
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
    """Return the components of a link's target, relative to `root` if it is absolute."""
    if not target.startswith("/"):
        return parts(target, up=True)
    if root is None or not Path(target).is_relative_to(root):
        raise _leads_out(path)
    return list(Path(target).relative_to(root).parts)


def _leads_out(path: StrPath) -> UnsafePath:
    return UnsafePath(errno.EXDEV, "is a symbolic link that leads out of the folder", str(path))


def socket_place(path: StrPath, opened: contextlib.ExitStack) -> str:
    """Return a path to connect to a socket of this user. It refers to the present socket until `opened` is closed.

    Raises:
        OSError: there is none, or it is no socket.
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
    """Return a descriptor (O_PATH) of a file or folder of any kind but a link. It gives no access to the content.

    It can be mounted, and need not be readable. For Linux.

    Raises:
        OSError: there is none, or a component is a link (`UnsafePath` with ELOOP).
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
