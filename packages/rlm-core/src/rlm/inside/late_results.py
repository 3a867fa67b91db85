"""Report sub-agents that end after the cell that started them, in a line at the end of the next cell.

A cell can leave an asyncio task running (`job = asyncio.create_task(rlm.run(…))`). A task keeps the context variables
of the cell that created it, even if it first runs later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rlm.core.task import RunResult
from rlm.errors import RlmError
from rlm.text.clip import one_line

_TASK, _RESULT = 60, 200  # maximum characters that are shown
_REPORTED = 20
"""Maximum sub-agents that are reported one by one: a cell that awaits one gets its whole result."""

_cell: ContextVar[int] = ContextVar("cell", default=0)
"""The number of the cell that this context belongs to; 0 outside a kernel, and in threads of a cell."""


class LateResults:
    """The late results of one kernel."""

    def __init__(self) -> None:
        self._newest = 0
        self._running = False
        self._lines: list[str] = []

    @contextmanager
    def cell(self) -> Iterator[None]:
        """Mark that a cell runs."""
        self._newest += 1
        _cell.set(self._newest)
        self._running = True
        try:
            yield
        finally:
            self._running = False

    @contextmanager
    def telling(self, task: str) -> Iterator[Callable[[RunResult], None]]:
        """Wrap the work of a sub-agent. The yielded function takes its result; a cancellation is not reported."""
        try:
            yield lambda result: self._add(task, f"{result.stop}: {result.answer}")
        except RlmError as error:
            self._add(task, f"failed: {error}")
            raise

    def _add(self, task: str, outcome: str) -> None:
        begun = _cell.get()
        if begun and not (self._running and begun == self._newest):  # else its own cell may be awaiting it
            ended = f"{one_line(task, _TASK)!r} of an earlier cell has ended, {one_line(outcome, _RESULT)}"
            self._lines.append(f"[sub-agent {ended}]")

    def take(self) -> str:
        """Return the lines to report, and forget them."""
        lines, self._lines = self._lines, []
        more = [f"[and {len(lines) - _REPORTED} more]"] if len(lines) > _REPORTED else []
        return "\n".join([*lines[:_REPORTED], *more])


late_results = LateResults()
