"""Delays most sub-agents of a large fan-out, so that their prompts start with text that is in the provider's cache.

The first few go ahead. This works for prompts that begin with new text; docs/why.md has the measurements.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

LEAST = 4_000
"""Characters, about 1,000 tokens: providers cache nothing shorter."""
FEW = 3
"""The number of agents that do not wait: for so few it is not worth it."""
LONGEST = 2.0
"""Seconds. If a reply does not stream, nothing shows when the provider has read the prompt."""


@dataclass(slots=True)
class _Beginning:
    until: float
    asked: int = 0
    read: asyncio.Event = field(default_factory=asyncio.Event)


class CacheWarmup:
    """Decides which first requests wait for the provider's cache, for all agents of a run."""

    def __init__(self, *, enabled: bool, longest: float = LONGEST) -> None:
        """`longest`: the most seconds that an agent waits."""
        self._enabled = enabled
        self._longest = longest
        self._known: dict[int, _Beginning] = {}

    async def wait(self, beginning: str) -> None:
        """Wait until a reply to the same beginning has begun. Call it before the first request of an agent.

        The first few agents do not wait, and no agent waits for long. `beginning` is the prompt up to its first
        difference.
        """
        if not self._enabled or len(beginning) < LEAST:
            return
        now = asyncio.get_running_loop().time()
        known = self._known.setdefault(hash(beginning), _Beginning(now + self._longest))
        known.asked += 1
        if known.asked > FEW and now < known.until and not known.read.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(known.read.wait(), known.until - now)

    def replied(self, beginning: str) -> None:
        """A reply to this beginning has started, so the provider has read it."""
        if (known := self._known.get(hash(beginning))) is not None:
            known.read.set()
