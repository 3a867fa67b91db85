"""Run cells on an event loop that already runs.

The kernel's loop runs during a cell, so `asyncio.run` in a cell would raise an error. While a cell without top-level
`await` runs, the running loop is hidden: `asyncio.run`, `Runner` and new loops then work as in a script. Only
`asyncio.create_task` is patched, since notebooks start background tasks with it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_hidden: list[asyncio.AbstractEventLoop] = []
_create_task = asyncio.create_task


class KernelLoop(asyncio.SelectorEventLoop):
    """The event loop of a kernel. A cell can access it."""

    in_cell = False
    stopped = False
    """True when a cell has stopped the loop. The kernel ends after the reply to that cell."""
    _aside: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        if self.in_cell:
            self.stopped = True
        else:
            super().stop()

    def run_until_complete(self, future: Any) -> Any:
        """Make `get_event_loop().run_until_complete(…)` work in a cell too: on a second loop, always the same one."""
        if not self.is_running() or not inspect.iscoroutine(future):
            return super().run_until_complete(future)
        if self._aside is None:
            self._aside = asyncio.SelectorEventLoop()
        return self._aside.run_until_complete(future)


@contextmanager
def loop_hidden() -> Iterator[None]:
    """Hide the loop that runs in this thread."""
    loop = asyncio._get_running_loop()
    if loop is None:  # a nested cell: the loop is hidden already
        yield
        return
    _hidden.append(loop)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        asyncio.set_event_loop(loop)  # asyncio.run has unset it
        _hidden.pop()


def create_task(coro: Any, **options: Any) -> asyncio.Task[Any]:
    """Create a task, as `asyncio.create_task` does. In a cell without top-level await, the task runs between cells."""
    if _hidden and asyncio._get_running_loop() is None:
        return _hidden[-1].create_task(coro, **options)
    return _create_task(coro, **options)


def install() -> None:
    for module in (asyncio, asyncio.tasks):
        module.__dict__["create_task"] = create_task
