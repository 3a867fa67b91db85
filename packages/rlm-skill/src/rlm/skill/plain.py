"""Reads plain files. The type of a file is checked before it is opened, because it may be something else.

A project may contain a named pipe, which would block for ever, or a device. `rlm.process.files` has the rules for all
files that a cell can write, and describes file types with the same texts. This package cannot import it, and runs on a
bare Python.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

LARGEST = 4_000_000
"""Maximum bytes of a file that is read: a larger one is no source file."""

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "is a symbolic link, which is not followed here"),
    (stat.S_ISDIR, "is a folder, not a plain file"),
    (stat.S_ISFIFO, "is a pipe, not a plain file"),
    (stat.S_ISSOCK, "is a socket, not a plain file"),
    (stat.S_ISCHR, "is a device, not a plain file"),
    (stat.S_ISBLK, "is a device, not a plain file"),
)


def wrong_kind(mode: int) -> str:
    """Describe the type of something that is no plain file; empty for a plain file."""
    return next((complaint for is_kind, complaint in _KINDS if is_kind(mode)), "")


def read_plain(path: Path) -> bytes:
    """Read a plain file. Links are followed, because installers use them.

    Raises:
        OSError: The file cannot be read, is larger than `LARGEST`, or is no plain file.
    """
    _check(path.stat(), path)
    # checked again, because the file may have been replaced; opened so that nothing blocks
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  # noqa: TID251 - by the rules above
    with os.fdopen(file, "rb") as stream:
        _check(os.fstat(file), path)
        return stream.read(LARGEST)


def read_text(path: Path) -> str:
    """Read a plain file as UTF-8, with or without a byte-order mark.

    Raises:
        OSError: As in `read_plain`.
        UnicodeDecodeError: The file is not UTF-8.
    """
    return read_plain(path).decode("utf-8-sig")


def _check(status: os.stat_result, path: Path) -> None:
    if wrong := wrong_kind(status.st_mode):
        raise OSError(f"{path.name} {wrong}")
    if status.st_size > LARGEST:
        raise OSError(f"{path.name} is larger than {LARGEST:,} bytes")
