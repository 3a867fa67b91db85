"""Cells on an event loop that already runs.

A kernel's own loop runs while a cell does, so `asyncio.run` in a cell would refuse. While a cell without top-level
`await` runs, the running loop is hidden: `asyncio.run`, `Runner` and new loops then work as in a script. Nothing of
asyncio is patched for that; `asyncio.create_task` alone is, since notebooks start background tasks with it.
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
    """The loop of a kernel, which a cell can get hold of."""

    in_cell = False
    stopped = False
    """A cell asked for the end. It comes when the cell has been answered."""
    _aside: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        if self.in_cell:
            self.stopped = True
        else:
            super().stop()

    def run_until_complete(self, future: Any) -> Any:
        """`get_event_loop().run_until_complete(…)` works in a cell too: on a loop aside, the same one each time."""
        if not self.is_running() or not inspect.iscoroutine(future):
            return super().run_until_complete(future)
        if self._aside is None:
            self._aside = asyncio.SelectorEventLoop()
        return self._aside.run_until_complete(future)


@contextmanager
def loop_hidden() -> Iterator[None]:
    """As if no loop ran in this thread."""
    loop = asyncio._get_running_loop()
    if loop is None:  # a cell within a cell
        yield
        return
    _hidden.append(loop)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        asyncio.set_event_loop(loop)  # asyncio.run leaves none behind
        _hidden.pop()


def create_task(coro: Any, **options: Any) -> asyncio.Task[Any]:
    """`asyncio.create_task`, that also works in a cell whose loop is hidden: the task runs between cells."""
    if _hidden and asyncio._get_running_loop() is None:
        return _hidden[-1].create_task(coro, **options)
    return _create_task(coro, **options)


def install() -> None:
    for module in (asyncio, asyncio.tasks):
        module.__dict__["create_task"] = create_task
