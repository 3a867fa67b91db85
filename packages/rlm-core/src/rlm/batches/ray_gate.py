"""One limit of requests for all workers of a cluster.

An actor holds the limit; the gate of each worker asks the actor.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from importlib import import_module
from typing import Any

from rlm.config.environment import prepare_ray
from rlm.core.slots import Rank
from rlm.errors import ConfigError
from rlm.providers.limiter import LocalGate, RequestOutcome


def load_ray() -> Any:
    """Import the package, only when it is used.

    Raises:
        ConfigError: the package is not installed.
    """
    prepare_ray()  # before the import, which reads the environment
    try:
        return import_module("ray")
    except ImportError:
        raise ConfigError("`--executor ray` needs ray: install rlm with its extra `ray`.") from None


class GateActor:
    """Runs in the actor. It records who has entered, so that slots of a lost worker are released."""

    def __init__(self) -> None:
        self._gate = LocalGate()
        self._inside: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._waiting: dict[tuple[str, int], asyncio.Task[int]] = {}

    async def enter(self, holder: str, number: int, rank: Rank) -> None:
        """Wait for a slot. `number` identifies the request among those of its holder, which is a worker."""
        waiting = self._waiting[holder, number] = asyncio.create_task(self._gate.enter(rank))
        try:
            self._inside[holder][number] = await waiting
        finally:
            del self._waiting[holder, number]

    async def leave(self, holder: str, number: int, outcome: RequestOutcome) -> int | None:
        """Release a slot. The caller may also be still waiting for one, or be forgotten."""
        if (waiting := self._waiting.get((holder, number))) is not None:
            waiting.cancel()
            await asyncio.wait([waiting])
        ticket = self._inside[holder].pop(number, None)
        return None if ticket is None else await self._gate.leave(ticket, outcome)

    async def forget(self, holder: str) -> None:
        """Release everything of a holder that is gone."""
        waiting = [number for owner, number in self._waiting if owner == holder]
        for number in (*waiting, *self._inside[holder]):
            await self.leave(holder, number, RequestOutcome())
        del self._inside[holder]


class RayGate:
    """Runs in a worker. If the actor is lost, requests pass: the provider still refuses too many."""

    def __init__(self, actor: Any, holder: str) -> None:
        self._actor = actor
        self._holder = holder
        self._numbers = itertools.count(1)

    @property
    def busy(self) -> bool:
        """Always False: a worker does not know."""
        return False

    async def enter(self, rank: Rank) -> int:
        """Wait for a slot; return its number, or 0 if the actor is lost."""
        number = next(self._numbers)
        try:
            await self._actor.enter.remote(self._holder, number, rank)
        except load_ray().exceptions.RayActorError:
            return 0
        except asyncio.CancelledError:
            self._actor.leave.remote(self._holder, number, RequestOutcome())
            raise
        return number

    async def leave(self, ticket: int, outcome: RequestOutcome) -> int | None:
        """Release a slot. Wait for the response only if the limit may change."""
        if not ticket:
            return None
        size_later = self._actor.leave.remote(self._holder, ticket, outcome)
        if not outcome.overloaded:
            return None
        try:
            return int(size) if (size := await size_later) is not None else None
        except load_ray().exceptions.RayActorError:
            return None


def open_gate() -> Any:
    """Start the actor, which ends with the batch.

    A named actor could outlive its batch and serve several. But Ray forgets the class of an actor when the job ends
    that created it, and workers of a later job cannot read its handle then (ray 2.60).
    """
    return load_ray().remote(GateActor).options(num_cpus=0, max_concurrency=100_000).remote()
