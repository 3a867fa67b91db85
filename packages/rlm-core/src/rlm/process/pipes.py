"""What others write to a pipe, read so that it takes little memory and no disk, however much they write.

Standard library only: the kernel's side uses it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable

_BLOCK = 65_536  # bytes: what a pipe holds
_HEAD, _TAIL = 2_000, 6_000  # bytes of a log that are kept


def drain(descriptor: int, take: Callable[[bytes], object], blocks: int = 1) -> bool:
    """Give `take` what is in the pipe, at most so many blocks. False: nobody can write to it any more."""
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
    """The beginning and the end of what is written to `end`, a descriptor for others, once `drain` has read it."""

    def __init__(self) -> None:
        self._read, self.end = os.pipe()
        os.set_blocking(self._read, False)
        self._head = self._tail = b""
        self._length = 0

    def fileno(self) -> int:
        """To wait for."""
        return self._read

    def close_end(self) -> None:
        """Others have it now."""
        os.close(self.end)

    def close(self) -> None:
        os.close(self._read)

    def drain(self, blocks: int = 1) -> bool:
        """As the function of this name."""
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
