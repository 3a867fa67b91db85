"""The newest of what is printed, in a file that outlives the process.

What was handed to zmq just before a crash may never leave: a thread of zmq's own sends it. The host knows how much
text it got, and takes the rest from here. Eight bytes say how many bytes of text there were in all (little-endian); the
others are a ring that holds the newest of them.
"""

from __future__ import annotations

import mmap
import os

from rlm.process import files

_COUNT = 8  # bytes
_RING = 1 << 16  # bytes


class CrashBuffer:
    """One writer at a time."""

    def __init__(self, path: str) -> None:
        handle = files.create(path)
        try:
            os.ftruncate(handle, _COUNT + _RING)
            self._file = mmap.mmap(handle, _COUNT + _RING)
        finally:
            os.close(handle)
        self._count = 0

    def add(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        newest = data[-_RING:]
        end = self._count + len(data)
        start = (end - len(newest)) % _RING
        rest = max(0, start + len(newest) - _RING)
        here = len(newest) - rest
        self._file[_COUNT + start : _COUNT + start + here] = newest[:here]
        self._file[_COUNT : _COUNT + rest] = newest[here:]
        self._file[:_COUNT] = end.to_bytes(_COUNT, "little")  # last: what is counted is there
        self._count = end
