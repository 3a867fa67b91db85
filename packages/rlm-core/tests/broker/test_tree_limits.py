"""The limits of a tree: which agents are admitted, and which may work."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from rlm.broker.limits import AgentLimits, Slot, TreeLimits
from rlm.core.budget import Spent, Stop, TurnLimit
from rlm.core.messages import Usage
from rlm.errors import AgentError
from rlm_testkit.waiting import TIMEOUT, run_ready_tasks


def tree_limits(
    *,
    tokens: int = 0,
    agents: int = 9,
    depth: int = 1,
    working: int = 1,
    total_tokens: int = 0,
    cost: float | None = None,
    last_request: bool = False,
) -> TreeLimits:
    return TreeLimits(
        tokens=tokens,
        agents=agents,
        depth=depth,
        working=working,
        total_tokens=total_tokens,
        cost=cost,
        last_request=last_request,
    )


def test_depth_counts_levels_below_the_root() -> None:
    tree = tree_limits(depth=1)
    tree.admit(0)
    tree.admit(1)
    with pytest.raises(AgentError, match="depth limit of 1") as refused:
        tree.admit(2)
    assert Stop.DEPTH_LIMIT == refused.value.stop
    assert (True, False) == (tree.can_recurse(0), tree.can_recurse(1))


def test_a_refused_agent_does_not_count() -> None:
    tree = tree_limits(agents=2)
    tree.add_earlier(1, Usage())
    with pytest.raises(AgentError):
        tree.admit(5)
    tree.admit(1)
    with pytest.raises(AgentError) as refused:
        tree.admit(1)
    assert Stop.AGENT_BUDGET == refused.value.stop


def test_tokens_are_those_of_the_whole_tree_and_0_is_no_limit() -> None:
    tree = tree_limits(tokens=10)
    limits = AgentLimits(TurnLimit(3), tree)
    tree.spend(Usage(completion=9))
    assert limits.reached(Spent(turns=1)) is None
    tree.spend(Usage(prompt=1000, completion=1))
    assert Stop.TOKEN_BUDGET == limits.reached(Spent(turns=1))
    free = tree_limits(tokens=0)
    free.spend(Usage(completion=10**9))
    assert not free.exhausted
    assert Stop.MAX_TURNS == AgentLimits(TurnLimit(3), free).reached(Spent(turns=3))


def test_only_uncached_tokens_are_new() -> None:
    tree = tree_limits(total_tokens=100)
    tree.spend(Usage(prompt=1000, completion=9, cached=910))
    assert tree.exhausted is None
    tree.spend(Usage(completion=1))
    assert Stop.TOKEN_BUDGET == tree.exhausted


def test_dollars_are_a_limit_and_a_request_without_a_price_may_have_cost_anything() -> None:
    tree = tree_limits(cost=1.0)
    assert tree.exhausted is None
    tree.spend(Usage(prompt=10, cost=0.9))
    assert tree.exhausted is None
    tree.spend(Usage(prompt=10, cost=0.2))
    assert Stop.COST_BUDGET == tree.exhausted
    unpriced = tree_limits(cost=1.0)
    unpriced.spend(Usage(prompt=1))
    assert Stop.COST_BUDGET == unpriced.exhausted


@pytest.mark.parametrize(
    ("limit", "small", "dear"),
    [
        ({"tokens": 1_000}, Usage(completion=40), Usage(completion=900)),
        ({"total_tokens": 1_000}, Usage(prompt=130, cached=100, completion=10), Usage(prompt=900)),
        ({"cost": 10.0}, Usage(prompt=1, cost=0.4), Usage(prompt=1, cost=9.0)),
    ],
)
def test_a_tenth_of_each_limit_or_twice_the_dearest_request_is_reserved_for_the_last_request(
    limit: dict[str, Any], small: Usage, dear: Usage
) -> None:
    cheap, plain, one = (
        tree_limits(**limit, last_request=True),
        tree_limits(**limit),
        tree_limits(**limit, last_request=True),
    )
    for _ in range(22):
        cheap.spend(small)
        plain.spend(small)
    assert (cheap.exhausted, plain.exhausted) == (None, None), "88 of 100, of which 8 are kept"
    cheap.spend(small)
    plain.spend(small)
    assert cheap.exhausted in (Stop.TOKEN_BUDGET, Stop.COST_BUDGET)
    assert plain.exhausted is None
    one.spend(dear)
    assert one.exhausted == cheap.exhausted, "90 of 100: no more than a tenth is kept"
    resumed = tree_limits(**limit, last_request=True)
    resumed.add_earlier(1, dear)
    assert resumed.exhausted is None, "usage from before this run is not a request"


def test_a_budget_has_the_rest_of_each_limit() -> None:
    tree = tree_limits(tokens=10, total_tokens=100, cost=1.0, agents=5, depth=2)
    tree.add_earlier(1, Usage(prompt=50, completion=4, cached=20, cost=0.25))
    left = tree.budget(1, 7.5)
    assert (left.completion_left, left.tokens_left, left.cost_left) == (6, 66, 0.75)
    assert (left.agents_left, left.depth_left, left.seconds_left) == (4, 1, 7.5)
    tree.spend(Usage(prompt=500, completion=400, cost=9.0))
    left = tree.budget(2, None)
    assert (left.completion_left, left.tokens_left, left.cost_left, left.depth_left) == (0, 0, 0, 0)
    free = tree_limits().budget(0, None)
    assert (free.completion_left, free.tokens_left, free.cost_left) == (None, None, None)


async def work(slot: AbstractAsyncContextManager[Slot], log: list[str], name: str) -> None:
    async with slot:
        log.append(name)


async def test_as_many_agents_run_at_once_as_there_are_slots() -> None:
    tree = tree_limits(working=1)
    log: list[str] = []
    async with tree.new_slot():
        waiter = asyncio.create_task(work(tree.new_slot(), log, "second"))
        await run_ready_tasks()
        assert [] == log
    await waiter
    assert ["second"] == log


async def test_an_agent_that_waits_for_a_child_releases_its_slot_and_acquires_it_again() -> None:
    tree = tree_limits(working=1)
    log: list[str] = []
    async with tree.new_slot() as parent:
        await work(parent.child(), log, "child")
        stranger = asyncio.create_task(work(tree.new_slot(), log, "stranger"))
        await run_ready_tasks()
        assert ["child"] == log, "the parent has its slot again"
    await stranger


async def test_a_child_asked_for_while_the_parent_takes_its_slot_again_does_not_deadlock() -> None:
    tree = tree_limits(working=1)
    log: list[str] = []
    async with asyncio.timeout(TIMEOUT), tree.new_slot() as parent:
        for _ in range(2):
            await asyncio.gather(*(work(parent.child(), log, str(n)) for n in range(20)))
    assert 40 == len(log)
    async with asyncio.timeout(TIMEOUT), tree.new_slot():
        log.append("no slot was lost")


async def test_cancelling_an_agent_that_waits_for_a_slot_loses_no_slot() -> None:
    tree = tree_limits(working=1)
    async with tree.new_slot() as parent:
        holding = asyncio.create_task(work(parent.child(), [], "never"))
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        waiter = asyncio.create_task(work(tree.new_slot(), [], "never"))
        await run_ready_tasks()
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with asyncio.timeout(TIMEOUT), tree.new_slot():
        pass


async def test_nested_work_comes_before_new_siblings() -> None:
    tree = tree_limits(working=1)
    order: list[str] = []

    async def nesting(parent: Slot) -> None:
        async with parent.child() as own:
            order.append("child")
            await run_ready_tasks()  # by now the siblings are in the queue
            await asyncio.gather(work(own.child(), order, "below"), work(own.child(), order, "below"))
            order.append("child again")

    async with asyncio.timeout(TIMEOUT), tree.new_slot() as root:
        await asyncio.gather(nesting(root), *(work(root.child(), order, "sibling") for _ in range(2)))
        order.append("root")
    assert ["child", "below", "below", "child again", "sibling", "sibling", "root"] == order


async def test_a_waiting_child_is_not_started_when_its_parent_or_an_ancestor_is_cancelled() -> None:
    tree = tree_limits(working=1)
    log: list[str] = []
    go_on, closing = asyncio.Event(), asyncio.Event()

    async def below(parent: Slot) -> None:
        async with parent.child() as own, own:
            log.append("running")
            await go_on.wait()
            await work(own.child(), log, "below")

    async def parent(slot: Slot) -> None:
        async with slot:
            try:
                await asyncio.Event().wait()
            finally:
                await closing.wait()  # as if its cell were being interrupted

    async with asyncio.timeout(TIMEOUT):
        slot = tree.new_slot()
        cancelled = asyncio.create_task(parent(slot))
        await run_ready_tasks()
        children = [asyncio.create_task(each) for each in (below(slot), work(slot.child(), log, "queued"))]
        await run_ready_tasks()
        cancelled.cancel()
        go_on.set()
        outcomes = await asyncio.gather(*children, return_exceptions=True)
        assert ["the agent that asked for it was cancelled"] * 2 == [str(error) for error in outcomes]
        closing.set()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert ["running"] == log
        await work(tree.new_slot(), log, "no slot was lost")


async def test_an_agent_that_survived_a_cancellation_can_have_children_again() -> None:
    """The interactive prompt catches the cancellation, and asks the same agent again in the same task."""
    tree = tree_limits(working=1)
    log: list[str] = []

    async def prompt() -> None:
        slot = tree.new_slot()
        with pytest.raises(asyncio.CancelledError):
            async with slot:
                await asyncio.Event().wait()
        async with slot:
            await work(slot.child(), log, "child")

    asking = asyncio.create_task(prompt())
    await run_ready_tasks()
    asking.cancel()
    await asking
    assert ["child"] == log
