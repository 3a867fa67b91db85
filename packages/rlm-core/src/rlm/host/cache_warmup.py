"""Delays most sub-agents of a large fan-out, so that their prompts start with text that is in the provider's cache.

The first few go ahead. This works for prompts that begin with new text; docs/why.md has the measurements.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

MIN_PREFIX = 4_000
"""Characters, about 1,000 tokens: providers cache nothing shorter."""
UNDELAYED = 3
"""The number of agents that do not wait: for so few it is not worth it."""
MAX_WAIT = 2.0
"""Seconds. If a reply does not stream, nothing shows when the provider has read the prompt."""


@dataclass(slots=True)
class _Prefix:
    deadline: float
    """No agent waits after this time of the event loop."""
    agents: int = 0
    cached: asyncio.Event = field(default_factory=asyncio.Event)


class CacheWarmup:
    """Decides which first requests wait for the provider's cache, for all agents of a run."""

    def __init__(self, *, enabled: bool, max_wait: float = MAX_WAIT) -> None:
        """`max_wait`: the most seconds that an agent waits."""
        self._enabled = enabled
        self._max_wait = max_wait
        self._prefixes: dict[int, _Prefix] = {}

    async def wait(self, text: str) -> None:
        """Wait until a reply to a request with the same prefix has started. Call it before an agent's first request.

        The first few agents do not wait, and no agent waits for long. `text` is the prompt up to its first difference
        from those of other agents.
        """
        if not self._enabled or len(text) < MIN_PREFIX:
            return
        now = asyncio.get_running_loop().time()
        prefix = self._prefixes.setdefault(hash(text), _Prefix(now + self._max_wait))
        prefix.agents += 1
        if prefix.agents > UNDELAYED and now < prefix.deadline and not prefix.cached.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(prefix.cached.wait(), prefix.deadline - now)

    def reply_started(self, text: str) -> None:
        """A reply to a request with this prefix has started, so the provider has read and cached it."""
        if (prefix := self._prefixes.get(hash(text))) is not None:
            prefix.cached.set()
