"""Plain files: the kind of a file is checked before it is opened, since something else may be in its place.

A project can bring a pipe, which would wait for ever, or a device. `rlm.process.files` has the rules for all that a
cell can write, and says so of a kind as this does; this package stands below it, and runs on a bare Python.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "is a symbolic link, which is not followed here"),
    (stat.S_ISDIR, "is a folder, not a plain file"),
    (stat.S_ISFIFO, "is a pipe, not a plain file"),
    (stat.S_ISSOCK, "is a socket, not a plain file"),
    (stat.S_ISCHR, "is a device, not a plain file"),
    (stat.S_ISBLK, "is a device, not a plain file"),
)


def wrong_kind(mode: int) -> str:
    """What something is that is no plain file; empty if it is one."""
    return next((complaint for is_kind, complaint in _KINDS if is_kind(mode)), "")


def read_plain(path: Path, limit: int) -> bytes:
    """What a plain file holds. Links are followed: installers use them.

    Raises:
        OSError: It cannot be read, is larger than `limit` bytes, or no plain file.
    """
    _check(path.stat(), path, limit)
    # looked at again, since it may be another by now; opened so that nothing waits
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  # noqa: TID251 - by these rules
    with os.fdopen(file, "rb") as stream:
        _check(os.fstat(file), path, limit)
        return stream.read(limit)


def _check(status: os.stat_result, path: Path, limit: int) -> None:
    if wrong := wrong_kind(status.st_mode):
        raise OSError(f"{path.name} {wrong}")
    if status.st_size > limit:
        raise OSError(f"{path.name} is larger than {limit:,} bytes")
