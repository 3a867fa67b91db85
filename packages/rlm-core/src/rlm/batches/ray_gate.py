"""One limit of requests for all workers of a cluster: an actor holds it, a gate of each worker asks it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from typing import Any

from rlm.core.slots import Rank
from rlm.providers.limiter import LocalGate, Outcome

NAMESPACE = "rlm"
IDLE = 300.0
"""Seconds without a request, after which the actor ends: batches come and go, and it belongs to none of them."""


class GateActor:
    """In the actor. It knows who has entered, so that what a lost worker had is given back."""

    def __init__(self) -> None:
        self._gate = LocalGate()
        self._inside: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._waiting: dict[tuple[str, int], asyncio.Task[int]] = {}
        self._used = time.monotonic()

    async def enter(self, holder: str, number: int, rank: Rank) -> None:
        self._used = time.monotonic()
        waiting = self._waiting[holder, number] = asyncio.create_task(self._gate.enter(rank))
        try:
            self._inside[holder][number] = await waiting
        finally:
            del self._waiting[holder, number]

    async def leave(self, holder: str, number: int, outcome: Outcome) -> int | None:
        """Also for one that waits no more, or whose holder was forgotten."""
        self._used = time.monotonic()
        if (waiting := self._waiting.get((holder, number))) is not None:
            waiting.cancel()
            await asyncio.wait([waiting])
        ticket = self._inside[holder].pop(number, None)
        return None if ticket is None else await self._gate.leave(ticket, outcome)

    async def forget(self, holder: str) -> None:
        """It is gone."""
        waiting = [number for owner, number in self._waiting if owner == holder]
        for number in (*waiting, *self._inside[holder]):
            await self.leave(holder, number, Outcome())
        del self._inside[holder]

    def _is_used(self) -> bool:
        return bool(self._waiting) or any(self._inside.values()) or time.monotonic() < self._used + IDLE

    async def run(self) -> None:
        """Until nobody has asked for long."""
        while self._waiting or any(self._inside.values()) or time.monotonic() < self._used + IDLE:
            await asyncio.sleep(IDLE / 10)
        import ray

        ray.actor.exit_actor()


class RayGate:
    """In a worker. If the actor is lost, requests pass: the provider still refuses what is too much."""

    def __init__(self, actor: Any, holder: str) -> None:
        self._actor = actor
        self._holder = holder
        self._numbers = itertools.count(1)

    async def enter(self, rank: Rank) -> int:
        from ray.exceptions import RayActorError

        number = next(self._numbers)
        try:
            await self._actor.enter.remote(self._holder, number, rank)
        except RayActorError:
            return 0
        except asyncio.CancelledError:
            self._actor.leave.remote(self._holder, number, Outcome())
            raise
        return number

    async def leave(self, ticket: int, outcome: Outcome) -> int | None:
        """Waits only where all have something to learn of it."""
        from ray.exceptions import RayActorError

        if not ticket:
            return None
        told = self._actor.leave.remote(self._holder, ticket, outcome)
        if not outcome.overloaded:
            return None
        try:
            return int(size) if (size := await told) is not None else None
        except RayActorError:
            return None


def open_gate(host: str) -> Any:
    """The actor of an endpoint, for all batches of the cluster; made by the first."""
    import ray

    how = {"name": f"gate of {host}", "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    actor = ray.remote(GateActor).options(**how, num_cpus=0, max_concurrency=100_000).remote()
    actor.run.remote()
    return actor
