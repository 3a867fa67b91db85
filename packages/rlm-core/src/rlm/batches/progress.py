"""The progress of a batch: a bar on a terminal, a line per minute elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job
from rlm.core.messages import Usage
from rlm.present import humanize
from rlm.present.live.row import Row
from rlm.present.live.writer import Writer
from rlm.text.clip import one_line
from rlm.text.styled import Span, Style

PERIOD = 60.0
"""Seconds between two lines without a terminal."""
_NAMED = 20  # maximum number of failures that are shown; the results have all of them
_LONGEST = 200  # maximum characters of an error
_ID = 40  # maximum characters of an id in a row, so that its time fits
_BAR = 30  # maximum columns
_RUNNING = 12  # maximum number of running tasks that are shown


@dataclass(frozen=True, slots=True)
class BatchState:
    """The state that the progress shows. Times are `time.monotonic()`."""

    expected: int = 0
    kept: int = 0
    """Number of results of earlier runs."""
    done: int = 0
    failed: int = 0
    """Number of tasks that ended in this run without an answer."""
    usage: Usage = field(default_factory=Usage)
    began: float = 0.0
    running: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """The start time of each running task."""

    @property
    def ended(self) -> int:
        """Number of tasks that ended in this run."""
        return self.done + self.failed

    def begun(self, job: Job, now: float) -> BatchState:
        """The state after a job has started."""
        return replace(self, running={**self.running, job.key: now})

    def after(self, result: TaskResult) -> BatchState:
        """The state after a job has ended."""
        return replace(
            self,
            running={key: since for key, since in self.running.items() if key != result.key},
            done=self.done + result.ok,
            failed=self.failed + (not result.ok),
            usage=self.usage + result.usage.usage,
        )

    def words(self, now: float) -> list[str]:
        """`412 of 1,000 done`, `9 failed`, `16 running`, `19m 04s left`, `31 a minute`, cost, tokens."""
        seconds = max(now - self.began, 0.001)
        left = self.expected - self.kept - self.ended
        rate = self.ended / seconds
        return list(
            filter(
                None,
                [
                    f"{self.kept + self.done:,} of {self.expected:,} done",
                    f"{self.failed:,} failed" * bool(self.failed),
                    f"{len(self.running):,} running" * bool(self.running),
                    f"{humanize.seconds(left / rate)} left" if self.ended and left else "",
                    f"{60 * rate:.3g} a minute" * bool(self.ended),
                    humanize.cost(self.usage) * (self.usage.cost is not None),
                    humanize.tokens(self.usage) * bool(self.ended),
                ],
            )
        )


class BatchProgress:
    """Shows the state with a `Writer`, which it does not own."""

    def __init__(
        self, writer: Writer, *, live: bool, quiet: bool, verbose: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer = writer
        self._live = live and not quiet
        self._quiet = quiet
        self._verbose = verbose
        self._clock = clock
        self._reported = 0
        self.state = BatchState()

    def begin(self, kept: Sequence[TaskResult], expected: int) -> None:
        failed = sum(not result.ok for result in kept)
        self.state = BatchState(expected, len(kept) - failed, failed=0, began=self._clock())
        self.state = replace(self.state, expected=expected - failed)
        self._show()

    def started(self, job: Job) -> None:
        self.state = self.state.begun(job, self._clock())

    def ended(self, result: TaskResult) -> None:
        self.state = self.state.after(result)
        if not result.ok:
            self._report(result)
        self._show()

    def note(self, text: str) -> None:
        if not self._quiet:
            self._writer.say(Row((Span(text, Style.DIM),)))

    @asynccontextmanager
    async def ticking(self) -> AsyncIterator[None]:
        """While entered, print a line each minute, unless a bar is shown."""
        ticks = asyncio.ensure_future(self._tick()) if not self._live else None
        try:
            yield
        finally:
            if ticks is not None:
                ticks.cancel()
                with suppress(asyncio.CancelledError):
                    await ticks

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            self.note(" · ".join(self.state.words(self._clock())))
            if self._verbose:
                for row in self._running(self._clock(), _RUNNING):
                    self._writer.say(row)

    def _report(self, result: TaskResult) -> None:
        self._reported += 1
        if self._quiet or self._reported > _NAMED + 1:
            return
        if self._reported > _NAMED:
            self.note("… other failures are in results.jsonl")
            return
        what = result.error or f"stopped by a limit: {result.stop_reason}"
        rollout = f" ({result.rollout})" if result.rollout else ""
        self._writer.say(Row((Span("✗ ", Style.RED), Span(f"{result.id}{rollout}: {one_line(what, _LONGEST)}"))))

    # ---- the bar

    def _show(self) -> None:
        if self._live:
            self._writer.show(self._frame)

    def _frame(self, now: float, width: int, height: int) -> list[Row]:
        state, columns = self.state, min(_BAR, width // 5)
        share = (state.kept + state.ended) / max(1, state.expected)
        full = round(columns * min(1.0, share))
        bar = (Span("━" * full, Style.GREEN), Span("━" * (columns - full), Style.DIM), Span(f" {share:4.0%}  "))
        rows = self._running(now, min(_RUNNING, height - 3)) if self._verbose else []
        return [*rows, Row((*bar, Span(" · ".join(state.words(now)))))]

    def _running(self, now: float, most: int) -> list[Row]:
        """The tasks that have run longest."""
        running = sorted(self.state.running.items(), key=lambda item: item[1])
        rows = [
            Row(
                (
                    Span(f"  {one_line(id, _ID)}{f' ({rollout})' if rollout else ''}"),
                    Span(f"  {humanize.seconds(now - since)}", Style.DIM),
                )
            )
            for (id, rollout), since in running[:most]
        ]
        return [*rows, Row((Span(f"  and {len(running) - most:,} more", Style.DIM),))] if len(running) > most else rows
