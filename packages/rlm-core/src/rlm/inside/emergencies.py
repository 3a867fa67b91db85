"""For the moments when a kernel dies, or has no memory left."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress

from rlm.process import files

# ---- the newest of what is printed


_COUNT = 8  # bytes
_RING = 1 << 16  # bytes


class CrashBuffer:
    """The newest of what is printed, in a file that outlives the process. One writer at a time.

    What was handed to zmq just before a crash may never leave: a thread of zmq's own sends it. The host knows how much
    text it got, and takes the rest from here. Eight bytes say how many bytes of text there were in all (little-endian);
    the others are a ring that holds the newest of them.
    """

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


# ---- memory


_SIZE = 16 << 20  # bytes: a traceback takes half of it
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class EmergencyMemory:
    """Memory that a cell cannot get at, so that a kernel whose cell took all there is can still say so, and go on.

    Where memory is limited (RLIMIT_DATA, RLIMIT_AS), Python raises MemoryError, and whoever catches it needs memory.
    What the cell took is still held by its variables; without a reserve the kernel could not even read the next cell.
    It is held while a cell runs. Nobody touches its pages, so it costs addresses and no memory.
    """

    def __init__(self) -> None:
        self._held: mmap.mmap | None = None

    def hold(self) -> None:
        """If there is as much: in a kernel that is full already, cells get the little that is left."""
        if self._held is None:
            with suppress(OSError, MemoryError):
                self._held = mmap.mmap(-1, _SIZE, flags=_PRIVATE)

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
