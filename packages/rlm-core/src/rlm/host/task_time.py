"""How long an agent may work on a task, and the time that is reserved for its last request."""

from __future__ import annotations

import asyncio


class TaskTime:
    """The time of one task at a time, by the clock of the event loop."""

    def __init__(self) -> None:
        self.work_until: float | None = None
        """The rest of the task's time after this moment is for the last request."""
        self._limit: asyncio.Timeout | None = None

    def begin(self, seconds: float | None, *, keeps: bool) -> asyncio.Timeout:
        """Return the limit of a task that begins now. `keeps`: reserve a part for the last request."""
        self._limit = asyncio.timeout(seconds)
        self.work_until = None
        if seconds is not None and keeps:
            # a tenth, from five (of a short time: a quarter) to sixty seconds
            kept = min(60.0, max(seconds / 10, min(5.0, seconds / 4)))
            self.work_until = asyncio.get_running_loop().time() + seconds - kept
        return self._limit

    def left(self) -> float | None:
        """Return the seconds left; None if there is no limit."""
        end = self._limit.when() if self._limit else None
        return None if end is None else max(0.0, end - asyncio.get_running_loop().time())
