"""The request limiter that a cluster shares: the slots of a lost worker are released. The actor is a plain object here."""

from __future__ import annotations

import asyncio

from rlm.batches.ray_gate import GateActor
from rlm.providers.limiter import RequestOutcome

ROOT = (0, 0)
REFUSED, DONE = RequestOutcome(overloaded=True), RequestOutcome(succeeded=True)


async def gate_with_one_slot() -> GateActor:
    """Return a gate after the provider has refused one of two requests: now one request at a time is allowed."""
    gate = GateActor()
    await gate.enter("a", 1, ROOT)
    await gate.enter("b", 1, ROOT)
    assert await gate.leave("a", 1, REFUSED) == 1
    return gate


async def test_the_slots_of_a_lost_worker_are_released() -> None:
    gate = await gate_with_one_slot()
    waiting = asyncio.create_task(gate.enter("a", 2, ROOT))
    await asyncio.sleep(0)
    assert not waiting.done()
    await gate.forget("b")
    await waiting
    await gate.leave("b", 1, DONE)  # it comes late, from a forgotten worker: its slot is not released twice
    behind = asyncio.create_task(gate.enter("c", 1, ROOT))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not behind.done()
    await gate.leave("a", 2, DONE)
    await behind


async def test_a_waiter_that_gives_up_takes_no_slot() -> None:
    gate = await gate_with_one_slot()
    cancelled = asyncio.create_task(gate.enter("a", 2, ROOT))
    next_one = asyncio.create_task(gate.enter("c", 1, ROOT))
    await asyncio.sleep(0)
    await gate.leave("a", 2, RequestOutcome())
    await asyncio.wait([cancelled])
    assert cancelled.cancelled()
    await gate.leave("b", 1, DONE)
    await next_one
