"""Keep the newest output of a kernel that crashes, and memory for a kernel that has none left."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress

from rlm.process import files

# ---- the newest output


_COUNT = 8  # bytes
_RING = 1 << 16  # bytes


class CrashBuffer:
    """The newest printed text, in a file that outlives the process. One writer at a time.

    zmq sends messages in its own thread, so the last ones before a crash may be lost. The host knows how much text it
    received, and reads the rest from this file. The first eight bytes are the number of all bytes of text printed
    (little-endian); the rest of the file is a ring with the newest text.
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
        self._file[:_COUNT] = end.to_bytes(_COUNT, "little")  # last, so that all counted bytes are written
        self._count = end


# ---- memory


_SIZE = 16 << 20  # bytes: a traceback takes half of it
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class EmergencyMemory:
    """Memory that a cell cannot use, so that the kernel can report a MemoryError and continue.

    If memory is limited (RLIMIT_DATA, RLIMIT_AS), Python raises MemoryError, and the handler of the error needs memory.
    The cell's variables still hold theirs; without a reserve the kernel could not even read the next cell. The reserve
    is held while a cell runs. Its pages are never touched, so it takes address space and no memory.
    """

    def __init__(self) -> None:
        self._held: mmap.mmap | None = None

    def hold(self) -> None:
        """Reserve the memory, if there is enough: in a full kernel, cells get the little that is left."""
        if self._held is None:
            with suppress(OSError, MemoryError):
                self._held = mmap.mmap(-1, _SIZE, flags=_PRIVATE)

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
