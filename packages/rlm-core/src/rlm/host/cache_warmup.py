"""The first sub-agents of a large fan-out go ahead, so that the others find the beginning of their prompts in the
provider's cache. It holds for prompts that begin as none before; docs/why.md has what was measured.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

LEAST = 4_000
"""Characters, about 1,000 tokens: providers cache nothing that is shorter."""
FEW = 3
"""Agents that are not worth a wait."""
LONGEST = 2.0
"""Seconds. Where a reply does not stream, nobody hears when its prompt has been read."""


@dataclass(slots=True)
class _Beginning:
    until: float
    asked: int = 0
    read: asyncio.Event = field(default_factory=asyncio.Event)


class CacheWarmup:
    """For all agents of a run."""

    def __init__(self, *, enabled: bool, longest: float = LONGEST) -> None:
        """`longest`: seconds that an agent waits at most."""
        self._enabled = enabled
        self._longest = longest
        self._known: dict[int, _Beginning] = {}

    async def wait(self, beginning: str) -> None:
        """To be called before the first request of an agent. Returns when a reply to the same beginning has begun.

        The first few need not wait, and nobody does for long. `beginning`: all that comes before what differs.
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
        """A reply to this beginning has begun, so the provider has read it."""
        if (known := self._known.get(hash(beginning))) is not None:
            known.read.set()
