"""Retry a request until it succeeds: with one budget in seconds, counted from the first failure, and one backoff."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

from rlm.core.events import Delta, Retried, Waiting, Writing
from rlm.core.messages import Reply
from rlm.core.ports import Sink
from rlm.providers.connection import Connection
from rlm.providers.errors import HTTPError, Retry, RetryDecision, TransportError, judge
from rlm.providers.normalize import strip_surrogates
from rlm.providers.ports import Piece
from rlm.text.redact import Redactor

FEW_RETRIES = 3
"""Retries of a fault that is more likely a mistake than temporary."""
BRIEF_BUDGET = 10.0
"""Seconds of retries for a server that has never answered."""
MAX_PAUSE = 24.0
"""Maximum seconds between two tries, unless the provider asks for more. Each pause is reported."""
SDK_MAX_PAUSE = 8.0
"""Maximum seconds between the first tries, as many as `RLM_SDK_MAX_RETRIES`."""
MAX_JITTER = 3.0
"""Maximum seconds that are added to the pause that a provider asks for."""
LONG_PAUSE = 5.0
"""Seconds from which a retry's pause counts as reported to the user."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to retry. `budget`, `first_pause` and `notice` are seconds. `quick`: retries at the pace of the OpenAI SDK.

    `notice`: the maximum time without a report to the user.
    """

    budget: float
    first_pause: float
    quick: int
    notice: float


Attempt = Callable[[], Awaitable[Reply]]
"""One try of a request.

Raises HTTPError or TransportError if it failed, MessagesRefused if the messages must be adapted first.
"""


class Retrying:
    """The tries of one request. Every failed try is counted and reported."""

    def __init__(
        self, connection: Connection, policy: RetryPolicy, sink: Sink, redactor: Redactor, *, depth: int
    ) -> None:
        """`depth`: levels of the agent below the root."""
        self.waits = WaitReporter(sink, policy.notice)
        self._connection = connection
        self._policy = policy
        self._sink = sink
        self._redactor = redactor
        self._depth = depth
        self._failures = 0
        self._since = 0.0  # the time of the first failure
        self._progress = ProgressReporter(sink)

    async def run(self, attempt: Attempt) -> Reply:
        """Call `attempt` until it returns a reply.

        Raises:
            RlmError: another try cannot help.
        """
        timeout = self._connection.read_timeout
        while True:
            self.waits.expect(timeout, "waiting for its turn")  # the provider takes no more requests at once
            try:
                async with self._connection.limiter.request(self._depth, self._sink, self._policy.budget) as waited:
                    self._since += waited  # the time in the queue does not count against the budget
                    self.waits.expect(timeout, "no answer")
                    return await attempt()
            except (HTTPError, TransportError) as fault:
                await self._wait(judge(fault))

    def on_data(self, piece: Piece | None) -> None:
        """Report a piece of the reply, see `rlm.providers.ports.OnData`."""
        self.waits.expect(self._connection.read_timeout)
        if piece is not None:
            self.waits.restart()
            self._progress.add(piece)

    async def _wait(self, decision: RetryDecision) -> None:
        now = time.monotonic()
        self._since = self._since if self._failures else now
        self._failures += 1
        reason = self._redactor.text(decision.reason)
        pause, asked = backoff(self._failures, self._policy), decision.after or 0.0
        if (stop := self._reason_to_stop(decision, now - self._since, max(pause, asked))) is not None:
            raise decision.error(" ".join(filter(None, (f"{reason.rstrip('.')}{stop}.", decision.hint))))
        seconds = max(pause, with_jitter(asked))
        self._sink(Retried(reason, self._failures, round(seconds, 3)))
        self.waits.failed(reason, reported=seconds >= LONG_PAUSE)  # the screen leaves out many short pauses
        self.waits.expect(seconds)
        await asyncio.sleep(seconds)

    def _reason_to_stop(self, decision: RetryDecision, passed: float, pause: float) -> str | None:
        """Return why another try after a pause cannot help, else None. `passed`: seconds since the first failure."""
        brief = decision.retry is Retry.BRIEFLY and not self._connection.reached
        budget = min(BRIEF_BUDGET, self._policy.budget) if brief else self._policy.budget
        if decision.retry is Retry.NEVER:
            return ""
        if decision.retry is Retry.SOME and self._failures > FEW_RETRIES:
            return f" ({self._failures} times)"
        if decision.after is not None and decision.after > budget:
            return f" (it asks for a pause of {decision.after:.0f} s)"
        spent = passed + pause >= budget
        return f" ({self._failures} times, for {passed:.{0 if passed >= 10 else 1}f} s)" if spent else None


class WaitReporter:
    """Report the state of one request while no data comes, each time after `notice` seconds."""

    def __init__(self, sink: Sink, notice: float) -> None:
        self._sink = sink
        self._notice = notice
        now = time.monotonic()
        self._since = now  # when the last piece of the message came, or the request began
        self._reported = now  # the time of the last report
        self._until = now
        self._problem = ""
        self._state = "no answer"

    def expect(self, seconds: float, state: str = "") -> None:
        """Set the maximum seconds until the next try or the timeout, and what happens until then."""
        self._until = time.monotonic() + seconds
        self._state = state or self._state

    def restart(self) -> None:
        """Note that a piece of the message has come: the time without data counts from now."""
        self._since = self._reported = time.monotonic()

    def failed(self, problem: str, *, reported: bool) -> None:
        """Note a failed try. `reported`: the user has certainly seen a report of it."""
        self._problem = problem
        if reported:
            self._reported = time.monotonic()

    async def during(self, work: Coroutine[object, object, Reply]) -> Reply:
        """Wait for `work`. Cancelling this cancels `work`."""
        working = asyncio.ensure_future(work)
        try:
            while not working.done():
                left = self._reported + self._notice - time.monotonic()
                if left > 0:
                    await asyncio.wait({working}, timeout=left)
                else:
                    self._report()
            return working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    def _report(self) -> None:
        self._reported = now = time.monotonic()
        silent = f"{self._state} for {now - self._since:.0f} s"
        reason = f"{silent}, the last try failed: {self._problem}" if self._problem else silent
        self._sink(Waiting(reason, round(max(0.0, self._until - now), 3)))


def with_jitter(seconds: float) -> float:
    """Add up to a tenth, at most 3 s: otherwise all clients that a provider refuses together would retry together."""
    return seconds + min(seconds / 10, MAX_JITTER) * random.random()  # noqa: S311 - not a secret


def backoff(failures: int, policy: RetryPolicy) -> float:
    """Return the pause in seconds after so many failures: `first_pause`, doubled each time.

    It is at most 8 s for the first `quick` retries; after that at least four times `first_pause` and at most 24 s. Each
    pause has a new jitter, so that many clients do not retry together.
    """
    seconds: float = policy.first_pause * 2 ** min(failures - 1, 20)
    if failures <= policy.quick:
        seconds = min(seconds, SDK_MAX_PAUSE)
    else:
        seconds = min(max(seconds, 4 * policy.first_pause), MAX_PAUSE)
    return seconds * (0.75 + random.random() / 4)  # noqa: S311 - not a secret


# ---- progress while a message comes: its text piece by piece, and the size of its other parts

PERIOD = 0.2
"""Seconds between two reports of parts other than text."""


class ProgressReporter:
    """Report the progress of one message, possibly over several tries."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._reported = float("-inf")
        self._sizes = {"reasoning": 0, "call": 0}
        self._lines = 0
        self._end = ""  # the first half of an escape sequence
        self._thoughts = ""  # reasoning that is not reported yet

    def add(self, piece: Piece) -> None:
        if piece.reasoning:
            self._thoughts += piece.reasoning
            self._grow("reasoning", len(piece.reasoning))
        elif self._thoughts:
            self._report("reasoning")  # before the text or call that follows it
        if piece.text:
            self._sink(Delta(strip_surrogates(piece.text)))
        if piece.arguments:
            self._lines += (self._end + piece.arguments).count("\\n")
            self._end = "\\" if piece.arguments.endswith("\\") else ""
            self._grow("call", len(piece.arguments))

    def _grow(self, what: str, size: int) -> None:
        self._sizes[what] += size
        if time.monotonic() >= self._reported + PERIOD:
            self._report(what)

    def _report(self, what: str) -> None:
        self._reported = time.monotonic()
        thoughts, self._thoughts = strip_surrogates(self._thoughts), ""
        self._sink(Writing(what, self._sizes[what], 1 + self._lines if what == "call" else 0, thoughts))
