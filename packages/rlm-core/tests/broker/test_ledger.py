"""The limits of a tree: who is admitted, and who may work."""

from __future__ import annotations

import asyncio

import pytest
from rlm.broker.limits import AgentLimits, Slot, TreeLimits
from rlm.core.budget import Spent, Stop, TurnLimit
from rlm.core.messages import Usage
from rlm.errors import AgentError
from rlm_testkit.waiting import PATIENCE


def ledger(*, tokens: int = 0, agents: int = 9, depth: int = 1, working: int = 1) -> TreeLimits:
    return TreeLimits(tokens=tokens, agents=agents, depth=depth, working=working)


def test_depth_counts_levels_below_the_root() -> None:
    tree = ledger(depth=1)
    tree.admit(0)
    tree.admit(1)
    with pytest.raises(AgentError, match="depth limit of 1") as refused:
        tree.admit(2)
    assert Stop.DEPTH_LIMIT == refused.value.stop
    assert (True, False) == (tree.can_recurse(0), tree.can_recurse(1))


def test_a_refused_agent_does_not_count() -> None:
    tree = ledger(agents=2)
    tree.carry_on(1, Usage())
    with pytest.raises(AgentError):
        tree.admit(5)
    tree.admit(1)
    with pytest.raises(AgentError) as refused:
        tree.admit(1)
    assert Stop.AGENT_BUDGET == refused.value.stop


def test_tokens_are_those_of_the_whole_tree_and_0_is_no_limit() -> None:
    tree = ledger(tokens=10)
    limits = AgentLimits(TurnLimit(3), tree)
    tree.spend(Usage(completion=9))
    assert limits.reached(Spent(turns=1)) is None
    tree.spend(Usage(prompt=1000, completion=1))
    assert Stop.TOKEN_BUDGET == limits.reached(Spent(turns=1))
    free = ledger(tokens=0)
    free.spend(Usage(completion=10**9))
    assert not free.exhausted
    assert Stop.MAX_TURNS == AgentLimits(TurnLimit(3), free).reached(Spent(turns=3))


async def works(seat: Slot, seen: list[str], name: str) -> None:
    async with seat:
        seen.append(name)


async def test_as_many_work_at_once_as_there_are_seats() -> None:
    tree = ledger(working=1)
    seen: list[str] = []
    async with tree.new_slot():
        waiter = asyncio.create_task(works(tree.new_slot(), seen, "second"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [] == seen
    await waiter
    assert ["second"] == seen


async def test_one_who_waits_for_a_child_lends_its_seat_and_takes_it_back() -> None:
    tree = ledger(working=1)
    seen: list[str] = []
    async with tree.new_slot() as parent:
        async with parent.waiting():
            await works(tree.new_slot(), seen, "child")
        assert ["child"] == seen
        stranger = asyncio.create_task(works(tree.new_slot(), seen, "stranger"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert ["child"] == seen, "the parent sits again"
    await stranger


async def test_a_child_asked_for_while_the_parent_takes_its_seat_again_does_not_deadlock() -> None:
    tree = ledger(working=1)
    seen: list[str] = []

    async def child(parent: Slot, name: str) -> None:
        async with parent.waiting():
            await works(tree.new_slot(), seen, name)

    async with asyncio.timeout(PATIENCE), tree.new_slot() as parent:
        await asyncio.gather(*(child(parent, str(n)) for n in range(20)))
        await asyncio.gather(*(child(parent, f"again {n}") for n in range(20)))
    assert 40 == len(seen)
    async with asyncio.timeout(PATIENCE), tree.new_slot():
        seen.append("no seat was lost")


async def test_cancelling_one_who_waits_to_sit_loses_no_seat() -> None:
    tree = ledger(working=1)
    async with tree.new_slot():
        waiter = asyncio.create_task(works(tree.new_slot(), [], "never"))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with asyncio.timeout(PATIENCE), tree.new_slot():
        pass
