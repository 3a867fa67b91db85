"""How many requests may be in flight to one endpoint, for all agents and runs of a host.

There is no limit until the provider says that it has too much. Then the number is halved, once for all requests that
were in flight, and grows by one after each round of successes: additive increase, multiplicative decrease, as TCP does.
Two rules keep the losses small where a server takes a fixed number at once. A refusal right after a step up takes back
that step alone, as all the others were accepted. The next step up then waits for twice as many rounds.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from rlm.core.events import Failed, Throttled
from rlm.core.ports import Sink
from rlm.core.slots import Rank, Slots
from rlm.providers.error_body import status_line
from rlm.providers.errors import HTTPError, Retry, TransportError, judge

MOST_ROUNDS = 32
"""Rounds of successes between two steps up, at most."""

_OVERLOADED = re.compile(
    r"overloaded|over(loaded)? capacity|(no|at|exceed\w*|insufficient|out of) (\w+ )?capacity|too many (\w+ )?requests"
    r"|rate.?limit|throttl|concurren(t|cy)|(server|engine|model|service) is (currently )?busy|queue is full"
)
_LOADING = re.compile(r"\bloading\b|starting up|warming up")  # llama.cpp, TGI: nobody has asked for too much


class Window:
    """How many requests may be in flight, by what became of those that were. Pure."""

    def __init__(self) -> None:
        self.size = sys.maxsize
        self.cuts = 0
        """How often the size was lowered. A request remembers the number that it was sent at."""
        self._successes = 0
        self._proven = 0  # a whole round succeeded at this size
        self._rounds = 1  # of successes before the next step up

    def succeeded(self) -> None:
        if not self.cuts:
            return
        self._successes += 1
        if self._successes >= self.size * self._rounds:
            self._rounds = self._rounds if self._proven == self.size else 1
            self._proven, self._successes = self.size, 0
            self.size += 1

    def refused(self, sent_at: int, in_flight: int) -> bool:
        """Whether that lowers the size.

        Not so for a request that was sent before the size was lowered last, nor for one that was alone.
        """
        if sent_at != self.cuts or in_flight < 2:
            return False
        self.cuts += 1
        self._successes = 0
        if self._proven + 1 == self.size <= in_flight:
            self.size, self._rounds = self._proven, min(2 * self._rounds, MOST_ROUNDS)
        else:
            self.size, self._proven, self._rounds = max(1, min(in_flight, self.size) // 2), 0, 1
        return True


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """What became of a request, as far as it matters to others. `after`: all shall wait for so many seconds."""

    succeeded: bool = False
    overloaded: bool = False
    after: float | None = None


class Gate(Protocol):
    """Lets requests to one endpoint pass."""

    @property
    def busy(self) -> bool:
        """Whether who enters now has to wait, as far as it is known here."""
        ...

    async def enter(self, rank: Rank) -> int:
        """Wait until one more may be in flight. What is returned is for `leave`."""
        ...

    async def leave(self, ticket: int, outcome: RequestOutcome) -> int | None:
        """The request has ended. How many may be in flight from here on, if its outcome has lowered that."""
        ...


class LocalGate:
    """For the requests of one event loop."""

    def __init__(self) -> None:
        self._window = Window()
        self._slots = Slots(self._window.size)
        self._closed_until = 0.0

    @property
    def busy(self) -> bool:
        return self._closed_until > time.monotonic() or self._slots.taken >= self._slots.size

    async def enter(self, rank: Rank) -> int:
        while True:
            await asyncio.sleep(self._closed_until - time.monotonic())
            await self._slots.acquire(rank)
            if self._closed_until <= time.monotonic():
                return self._window.cuts
            self._slots.release()  # somebody was refused in the meantime

    async def leave(self, ticket: int, outcome: RequestOutcome) -> int | None:
        """Never waits."""
        if outcome.succeeded:
            self._window.succeeded()
        if outcome.after is not None:
            self._closed_until = max(self._closed_until, time.monotonic() + outcome.after)
        lowered = outcome.overloaded and self._window.refused(ticket, self._slots.taken)
        self._slots.resize(self._window.size)
        self._slots.release()
        return self._window.size if lowered else None


class RequestLimiter:
    """What the requests of a process pass. The root's come first."""

    def __init__(self, host: str, gate: Gate | None = None) -> None:
        """`gate`: one that others share, too."""
        self._host = host
        self._gate = gate or LocalGate()
        self._reported = False

    @asynccontextmanager
    async def request(self, depth: int, sink: Sink, longest: float) -> AsyncIterator[float]:
        """While entered, a request of an agent at `depth` is in flight. Gives the seconds that it had to wait.

        All requests wait as long as one of them was asked to wait, up to `longest` seconds. A fault passes through.
        """
        asked = time.monotonic()
        ticket = await self._enter((min(depth, 1), 0), sink)
        outcome, why = RequestOutcome(), ""
        try:
            yield time.monotonic() - asked
            outcome = RequestOutcome(succeeded=True)
        except (HTTPError, TransportError) as fault:
            outcome, why = outcome_of(fault, longest), _reason(fault)
            raise
        finally:
            if (size := await self._gate.leave(ticket, outcome)) is not None:
                self._report(why, size, sink)

    async def _enter(self, rank: Rank, sink: Sink) -> int:
        if not self._gate.busy:
            return await self._gate.enter(rank)
        sink(Throttled(waits=True))
        ticket = await self._gate.enter(rank)
        sink(Throttled(waits=False))
        return ticket

    def _report(self, why: str, size: int, sink: Sink) -> None:
        if self._reported:
            return
        self._reported = True
        sink(Failed(f"{self._host} has too many requests ({why}): {size} at once from here on, more as they succeed."))


def _reason(fault: HTTPError | TransportError) -> str:
    return status_line(fault.status) if isinstance(fault, HTTPError) else "overloaded"


def outcome_of(fault: HTTPError | TransportError, longest: float) -> RequestOutcome:
    decision = judge(fault)
    if decision.retry is not Retry.BUDGET:
        return RequestOutcome()
    after = decision.after if decision.after is not None and decision.after <= longest else None
    return RequestOutcome(overloaded=is_overload(fault), after=after)


def is_overload(fault: HTTPError | TransportError) -> bool:
    """Whether fewer requests at once would help."""
    if isinstance(fault, TransportError):
        return _OVERLOADED.search(fault.reason.lower()) is not None
    text = fault.text.lower()
    if fault.status == 503 and _LOADING.search(text):
        return False
    return fault.status in (429, 503, 529) or (fault.status >= 500 and _OVERLOADED.search(text) is not None)
