"""Writes PNG files without a library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

GREY, RGB = 0, 2


def png(width: int, rows: Iterable[bytes], kind: int = RGB) -> bytes:
    """A picture with 8 bits per sample. Each row begins with the byte of its filter; `kind` is the colour type."""
    rows = list(rows)
    header = struct.pack(">IIBBBBB", width, len(rows), 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
