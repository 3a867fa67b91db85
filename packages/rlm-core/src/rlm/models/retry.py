"""How long one request is tried: one budget in seconds, counted from the first failure."""

from __future__ import annotations

import asyncio
import random
import time

from rlm.events import Retried
from rlm.models.faults import Retry, Verdict
from rlm.ports import Sink

FEW = 3
"""Retries of what is more likely a mistake than a passing fault."""
LONGEST = 30.0
"""Seconds between two tries, unless the provider asks for more."""
_SDK_LONGEST = 8.0  # seconds; the SDK waits half a second, then twice as long each time, up to this


class Patience:
    """What is left of it for one request."""

    def __init__(self, budget: float, sink: Sink, first_pause: float = 0.5) -> None:
        self._budget = budget
        self._sink = sink
        self._first_pause = first_pause
        self._failures = 0
        self._deadline: float | None = None

    @property
    def left(self) -> float:
        """Seconds."""
        return self._budget if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def sdk_retries(self, allowed: int) -> int:
        """How many of its own retries the SDK may make now: none at first, for they are silent."""
        if self._failures == 0:
            return 0
        waits = [min(_SDK_LONGEST, 0.5 * 2**count) for count in range(allowed)]
        return sum(sum(waits[: count + 1]) < self.left for count in range(allowed))

    async def wait(self, verdict: Verdict) -> None:
        """Tell, and wait until the request may be tried again.

        Raises:
            RlmError: the verdict's, if there is no point in that.
        """
        self._failures += 1
        if self._deadline is None:
            self._deadline = time.monotonic() + self._budget
        seconds = pause(self._failures, verdict.after, self._first_pause)
        if (last_words := self._last_words(verdict, seconds)) is not None:
            raise verdict.error(" ".join(filter(None, (f"{verdict.reason.rstrip('.')}{last_words}.", verdict.hint))))
        self._sink(Retried(verdict.reason, self._failures, round(seconds, 3)))
        await asyncio.sleep(seconds)

    def _last_words(self, verdict: Verdict, seconds: float) -> str | None:
        """Why there is no point in another try; None if there is."""
        if verdict.retry is Retry.NEVER:
            return ""
        if verdict.retry is Retry.SOME and self._failures > FEW:
            return f" ({self._failures} times)"
        if verdict.after is not None and verdict.after > self._budget:
            return f" (it asks for a pause of {verdict.after:.0f} s)"
        return f" ({self._failures} times, for {self._budget:g} s)" if seconds >= self.left else None


def pause(failures: int, after: float | None, first: float) -> float:
    """Seconds before the next try: as long as the provider asks, or `first`, doubling.

    Jittered, so that many clients do not come at once; never nothing, so that nobody is hammered.
    """
    jitter = random.random()  # noqa: S311 - not a secret
    if after is not None:
        return max(after, first) + jitter * min(1.0, after / 10)
    return float(min(LONGEST, first * 2 ** (failures - 1))) * (0.5 + jitter / 2)
