"""Slots in order of rank."""

from __future__ import annotations

import asyncio

from rlm.core.slots import Slots
from rlm_testkit.waiting import run_ready_tasks


async def take(slots: Slots, rank: int, served: list[int]) -> None:
    await slots.acquire((rank, 0))
    served.append(rank)


async def test_the_lowest_rank_is_served_first_and_a_cancelled_waiter_never() -> None:
    slots, served = Slots(1), list[int]()
    await slots.acquire((0, 0))
    waiting = [asyncio.create_task(take(slots, rank, served)) for rank in (3, 1, 2, 0)]
    await run_ready_tasks()
    waiting[1].cancel()
    for expected in ([0], [0, 2], [0, 2, 3]):
        slots.release()
        await run_ready_tasks()
        assert expected == served
    assert waiting[1].cancelled()
    slots.release()
    assert 0 == slots.taken


async def test_a_higher_limit_applies_at_once_and_a_lower_one_as_slots_are_released() -> None:
    slots, served = Slots(0), list[int]()
    waiting = [asyncio.create_task(take(slots, rank, served)) for rank in range(4)]
    await run_ready_tasks()
    slots.resize(3)
    await run_ready_tasks()
    assert [0, 1, 2] == served
    slots.resize(1)
    slots.release()
    slots.release()
    await run_ready_tasks()
    assert [0, 1, 2] == served, "one is still taken, and the limit is one"
    slots.release()
    await asyncio.gather(*waiting)
    assert [0, 1, 2, 3] == served


async def test_a_slot_granted_to_a_cancelled_agent_goes_to_the_next() -> None:
    slots, served = Slots(1), list[int]()
    await slots.acquire((0, 0))
    first, second = (asyncio.create_task(take(slots, rank, served)) for rank in (1, 2))
    await run_ready_tasks()
    slots.release()
    first.cancel()
    await second
    assert [2] == served
    assert 1 == slots.taken
