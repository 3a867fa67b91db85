"""What a kernel that died had printed and could no longer send. `rlm.inside.crash_buffer` writes it, and says how."""

from __future__ import annotations

import os
from pathlib import Path

from rlm.process import files

_COUNT = 8  # bytes
_LARGEST = 1 << 20  # bytes; the file is the kernel's, and may hold anything


def length(text: str) -> int:
    """Bytes, as the kernel counts them."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def head_of(path: Path, most: int) -> bytes:
    """The first bytes of a file that a kernel could have put something else in the place of.

    Raises:
        OSError: it is not there, or no plain file.
    """
    with os.fdopen(files.open_file(path), "rb") as file:
        return file.read(most)


def unsent(path: Path, received: int) -> str:
    """What was printed after the first `received` bytes; of very much, the newest."""
    try:
        told = head_of(path, _LARGEST)
    except OSError:
        return ""
    count, ring = int.from_bytes(told[:_COUNT], "little"), told[_COUNT:]
    missing = count - received
    if missing <= 0 or not ring:
        return ""
    end = count % len(ring)
    newest = (ring[end:] + ring[:end])[-missing:].decode("utf-8", "replace")
    lost = missing - len(ring)
    return f"\n[… {lost:,} bytes were lost …]\n{newest}" if lost > 0 else newest
