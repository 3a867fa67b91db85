"""Which agents wait for the provider's cache, and how long."""

from __future__ import annotations

import asyncio

from rlm.host.cache_warmup import MIN_PREFIX, UNDELAYED, CacheWarmup

LONG, OTHER = "a" * MIN_PREFIX, "b" * MIN_PREFIX


async def waiting(warmup: CacheWarmup, prefix: str, agents: int) -> list[asyncio.Task[None]]:
    """Start this many agents, and return the tasks of those that still wait."""
    tasks = [asyncio.ensure_future(warmup.wait(prefix)) for _ in range(agents)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return [task for task in tasks if not task.done()]


async def test_all_but_the_first_few_wait_until_a_reply_to_the_same_prefix_begins() -> None:
    warmup = CacheWarmup(enabled=True)
    late = await waiting(warmup, LONG, UNDELAYED + 2)
    assert 2 == len(late)
    warmup.reply_started(OTHER)
    assert [] == await waiting(warmup, OTHER, UNDELAYED), "another prefix has its own first agents"
    assert not any(task.done() for task in late)
    warmup.reply_started(LONG)
    await asyncio.gather(*late)
    assert [] == await waiting(warmup, LONG, 20), "from then on the prefix is known"


async def test_no_agent_waits_for_a_beginning_that_is_not_cached_or_if_it_is_off() -> None:
    assert [] == await waiting(CacheWarmup(enabled=True), LONG[1:], 20)
    assert [] == await waiting(CacheWarmup(enabled=False), LONG, 20)


async def test_the_wait_for_a_missing_reply_is_short() -> None:
    warmup = CacheWarmup(enabled=True, max_wait=0.2)
    await asyncio.gather(*(warmup.wait(LONG) for _ in range(UNDELAYED + 1)))
    assert [] == await waiting(warmup, LONG, 20)
