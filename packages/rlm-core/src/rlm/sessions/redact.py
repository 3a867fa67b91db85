"""Removes keys from the files that kernels and commands wrote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from rlm.process import files
from rlm.text.redact import Redactor

_PIECE = 1 << 20


def redact_files(redactor: Redactor, folder: Path) -> None:
    """Remove the keys from the files in `folder`, whatever their size; a file without keys stays unchanged."""
    if not redactor.longest:
        return
    with suppress(OSError):
        inside = files.open_folder(folder)
        try:
            for name in sorted(os.listdir(inside)):  # noqa: PTH208 - by descriptor
                with suppress(OSError):  # a link, a removed file, a full disk: continue with the others
                    _redact_file(name, inside, redactor)
        finally:
            os.close(inside)


def _redact_file(name: str, folder: int, redactor: Redactor) -> None:
    with os.fdopen(files.open_file(name, dir_fd=folder), "rb") as file:
        if not any(found for found, _ in _pieces(file, redactor)):
            return
        file.seek(0)
        draft = f".{token_hex(8)}.redacted"
        with os.fdopen(files.create(draft, dir_fd=folder), "wb") as clean:
            clean.writelines(piece for _, piece in _pieces(file, redactor))
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def _pieces(file: BinaryIO, redactor: Redactor) -> Iterator[tuple[bool, bytes]]:
    """Yield the file without keys, in pieces, and whether each had one. A key may span two pieces."""
    keep = redactor.longest - 1
    held = b""
    while piece := file.read(_PIECE):
        data = held + piece
        clean = redactor.raw(data)
        held = clean[-keep:]
        yield clean != data, clean[:-keep]
    yield False, held
