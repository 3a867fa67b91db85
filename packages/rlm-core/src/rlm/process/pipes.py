"""Reads output of other programs from a pipe with little memory and no disk, whatever its amount.

Standard library only: code in the kernel uses it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_BLOCK = 65_536  # bytes: the size of a pipe's buffer
_HEAD, _TAIL = 2_000, 6_000  # bytes of a log that are kept


def drain(descriptor: int, take: Callable[[bytes], object], blocks: int = 1) -> bool:
    """Pass the content of the pipe to `take`, at most so many blocks. Return False if no writer is left."""
    for _ in range(blocks):
        try:
            block = os.read(descriptor, _BLOCK)
        except BlockingIOError:
            return True
        if not block:
            return False
        take(block)
    return True


class BoundedLog:
    """Keeps the beginning and the end of what others write to the descriptor `end`. `drain` reads it."""

    def __init__(self) -> None:
        self._read, self.end = os.pipe()
        os.set_blocking(self._read, False)
        self._head = self._tail = b""
        self._length = 0

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._read

    def close_end(self) -> None:
        """Close our copy of `end`, after others have inherited it."""
        os.close(self.end)

    def close(self) -> None:
        os.close(self._read)

    def drain(self, blocks: int = 1) -> bool:
        """Read from the pipe, as the function `drain` does."""
        return drain(self._read, self._add, blocks)

    def text(self) -> str:
        left_out = self._length - len(self._head) - len(self._tail)
        note = f"\n[… {left_out:,} bytes left out …]\n".encode() if left_out else b""
        return (self._head + note + self._tail).decode(errors="replace")

    def _add(self, data: bytes) -> None:
        room = _HEAD - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + data[room:])[-_TAIL:]
        self._length += len(data)
