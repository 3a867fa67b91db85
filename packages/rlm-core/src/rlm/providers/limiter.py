"""Limit the requests in flight to one endpoint, for all agents and runs of a host.

There is no limit until the provider refuses a request because of overload. Then the limit is halved, once for all
requests in flight, and grows by one after each round of successes: additive increase, multiplicative decrease, as in
TCP. Two rules keep the losses small for a server that takes a fixed number of requests. A refusal right after an
increase only takes back this increase, since all other requests were accepted. The next increase then waits for twice
as many rounds.
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
"""Maximum rounds of successes between two increases."""

_OVERLOADED = re.compile(
    r"overloaded|over(loaded)? capacity|(no|at|exceed\w*|insufficient|out of) (\w+ )?capacity|too many (\w+ )?requests"
    r"|rate.?limit|throttl|concurren(t|cy)|(server|engine|model|service) is (currently )?busy|queue is full"
)
_LOADING = re.compile(r"\bloading\b|starting up|warming up")  # llama.cpp, TGI: the server is not overloaded


class Window:
    """The limit of requests in flight, computed from the outcomes of earlier requests. Pure."""

    def __init__(self) -> None:
        self.size = sys.maxsize
        self.cuts = 0
        """How often the size was lowered. A request remembers this number at the time when it was sent."""
        self._successes = 0
        self._proven = 0  # the size at which a whole round has succeeded
        self._rounds = 1  # rounds of successes before the next increase

    def succeeded(self) -> None:
        if not self.cuts:
            return
        self._successes += 1
        if self._successes >= self.size * self._rounds:
            self._rounds = self._rounds if self._proven == self.size else 1
            self._proven, self._successes = self.size, 0
            self.size += 1

    def refused(self, sent_at: int, in_flight: int) -> bool:
        """Note a refusal. Return whether it lowers the size.

        It does not if the request was sent before the last decrease, or if it was the only one in flight.
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
    """The outcome of a request, as far as it affects others. `after`: seconds that all requests must wait."""

    succeeded: bool = False
    overloaded: bool = False
    after: float | None = None


class Gate(Protocol):
    """Limits the requests to one endpoint."""

    @property
    def busy(self) -> bool:
        """True if a request that enters now must wait, as far as known here."""
        ...

    async def enter(self, rank: Rank) -> int:
        """Wait until one more request may be in flight. Return the ticket for `leave`."""
        ...

    async def leave(self, ticket: int, outcome: RequestOutcome) -> int | None:
        """Note the end of a request. Return the new limit if its outcome has lowered the limit, else None."""
        ...


class LocalGate:
    """The gate for the requests of one event loop."""

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
            self._slots.release()  # another request was refused in the meantime

    async def leave(self, ticket: int, outcome: RequestOutcome) -> int | None:
        """Note the end of a request; see `Gate.leave`. It never waits."""
        if outcome.succeeded:
            self._window.succeeded()
        if outcome.after is not None:
            self._closed_until = max(self._closed_until, time.monotonic() + outcome.after)
        lowered = outcome.overloaded and self._window.refused(ticket, self._slots.taken)
        self._slots.resize(self._window.size)
        self._slots.release()
        return self._window.size if lowered else None


class RequestLimiter:
    """The limiter of all requests of a host to one endpoint. Requests of the root agent come first."""

    def __init__(self, host: str, gate: Gate | None = None) -> None:
        """`gate`: a gate that is shared with others."""
        self._host = host
        self._gate = gate or LocalGate()
        self._reported = False

    @asynccontextmanager
    async def request(self, depth: int, sink: Sink, longest: float) -> AsyncIterator[float]:
        """Hold a place for one request of an agent at `depth`. Yield the seconds that it had to wait.

        If a provider asks one request to wait, all requests wait, up to `longest` seconds. Faults are re-raised.
        """
        asked = time.monotonic()
        waits = self._gate.busy
        if waits:
            sink(Throttled(waits=True))
        ticket = await self._gate.enter((min(depth, 1), 0))
        if waits:
            sink(Throttled(waits=False))
        outcome, why = RequestOutcome(), ""
        try:
            yield time.monotonic() - asked
            outcome = RequestOutcome(succeeded=True)
        except (HTTPError, TransportError) as fault:
            outcome = outcome_of(fault, longest)
            why = status_line(fault.status) if isinstance(fault, HTTPError) else "overloaded"
            raise
        finally:
            size = await self._gate.leave(ticket, outcome)
            if size is not None and not self._reported:
                self._reported = True
                many = f"{self._host} has too many requests ({why})"
                sink(Failed(f"{many}: {size} at once from now on, more as they succeed."))


def outcome_of(fault: HTTPError | TransportError, longest: float) -> RequestOutcome:
    decision = judge(fault)
    if decision.retry is not Retry.BUDGET:
        return RequestOutcome()
    after = decision.after if decision.after is not None and decision.after <= longest else None
    return RequestOutcome(overloaded=is_overload(fault), after=after)


def is_overload(fault: HTTPError | TransportError) -> bool:
    """Return whether fewer requests at once would help."""
    if isinstance(fault, TransportError):
        return _OVERLOADED.search(fault.reason.lower()) is not None
    text = fault.text.lower()
    if fault.status == 503 and _LOADING.search(text):
        return False
    return fault.status in (429, 503, 529) or (fault.status >= 500 and _OVERLOADED.search(text) is not None)
