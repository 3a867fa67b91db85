"""Take keys out of the files that kernels and commands wrote."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rlm.text.redact import REDACTED, Redactor

_PIECE = 1 << 20


def redact_files(redactor: Redactor, folder: Path) -> None:
    """Take the keys out of the files in `folder`, however large; a file that holds none is left alone."""
    if not redactor.spellings:
        return
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(OSError):  # a link, a file that has gone, a full disk: the others are cleaned all the same
            _redact_file(path, [spelling.encode() for spelling in redactor.spellings])


def _redact_file(path: Path, spellings: list[bytes]) -> None:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        if not regular or not any(found for found, _ in _pieces(file, spellings)):
            return
        file.seek(0)
        draft = path.with_name(f"{path.name}.redacted")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as clean:
            clean.writelines(piece for _, piece in _pieces(file, spellings))
        draft.replace(path)


def _pieces(file: BinaryIO, spellings: list[bytes]) -> Iterator[tuple[bool, bytes]]:
    """The file without keys, in pieces, and whether one was found; a key may lie across a cut."""
    keep = max(map(len, spellings)) - 1
    held = b""
    while piece := file.read(_PIECE):
        data = held + piece
        found = any(spelling in data for spelling in spellings)
        for spelling in spellings:
            data = data.replace(spelling, REDACTED.encode())
        held = data[-keep:]
        yield found, data[:-keep]
    yield False, held
