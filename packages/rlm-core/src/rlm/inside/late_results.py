"""Sub-agents that end after the cell that began them: a line says so at the end of the next cell.

A cell can leave a task of asyncio behind (`job = asyncio.create_task(rlm.run(…))`). A task has the context variables of
the cell that made it, also where it first runs later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rlm.core.task import RunResult
from rlm.errors import RlmError
from rlm.text.clip import one_line

_TASK, _RESULT = 60, 200  # characters that are shown
_REPORTED = 20
"""Sub-agents that are reported one by one: whoever waits for one has the whole."""

_cell: ContextVar[int] = ContextVar("cell", default=0)
"""The number of the cell that something belongs to; 0 outside of a kernel, and in threads of a cell."""


class LateResults:
    """Those of one kernel."""

    def __init__(self) -> None:
        self._newest = 0
        self._running = False
        self._lines: list[str] = []

    @contextmanager
    def cell(self) -> Iterator[None]:
        """While a cell runs."""
        self._newest += 1
        _cell.set(self._newest)
        self._running = True
        try:
            yield
        finally:
            self._running = False

    @contextmanager
    def telling(self, task: str) -> Iterator[Callable[[RunResult], None]]:
        """Around the work of a sub-agent. What comes of it is to be handed in; whoever cancels it knows of it."""
        try:
            yield lambda result: self._add(task, f"{result.stop}: {result.answer}")
        except RlmError as error:
            self._add(task, f"failed: {error}")
            raise

    def _add(self, task: str, outcome: str) -> None:
        begun = _cell.get()
        if begun and not (self._running and begun == self._newest):  # else its cell may wait for it
            ended = f"{one_line(task, _TASK)!r} of an earlier cell has ended, {one_line(outcome, _RESULT)}"
            self._lines.append(f"[sub-agent {ended}]")

    def take(self) -> str:
        """What is to be reported, a line each; none of it again."""
        lines, self._lines = self._lines, []
        more = [f"[and {len(lines) - _REPORTED} more]"] if len(lines) > _REPORTED else []
        return "\n".join([*lines[:_REPORTED], *more])


late_results = LateResults()
