"""A time limit that can be paused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Count the running time of one cell at a time, except while the clock is held.

    Calls of `held` can be nested. The clock can be held before a cell starts, and still be held after the cell ends.
    """

    def __init__(self) -> None:
        self._held = 0
        self._left = 0.0
        self._since = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._expired: asyncio.Future[None] | None = None

    @contextmanager
    def running(self, seconds: float) -> Iterator[asyncio.Future[None]]:
        """Yield a future that is done when the clock has counted `seconds`."""
        self._left = seconds
        self._expired = asyncio.get_running_loop().create_future()
        self._go()
        try:
            yield self._expired
        finally:
            self._stop()
            self._expired.cancel()
            self._expired = None

    @contextmanager
    def held(self) -> Iterator[None]:
        self._held += 1
        self._stop()
        try:
            yield
        finally:
            self._held -= 1
            self._go()

    def _go(self) -> None:
        if not self._held and self._expired is not None and not self._expired.done():
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            self._alarm = loop.call_later(self._left, self._expired.set_result, None)

    def _stop(self) -> None:
        if self._alarm is not None:
            self._left = max(0.0, self._left - (asyncio.get_running_loop().time() - self._since))
            self._alarm.cancel()
            self._alarm = None
