"""Memory that a cell cannot get at, so that a kernel whose cell took all there is can still say so, and go on.

Where memory is limited (RLIMIT_DATA, RLIMIT_AS), Python raises MemoryError, and whoever catches it needs memory. What
the cell took is still held by its variables; without a reserve the kernel could not even read the next cell.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

_SIZE = 16 << 20  # bytes: a traceback takes half of it
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class EmergencyMemory:
    """Held while a cell runs. Nobody touches its pages, so it costs addresses and no memory."""

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
