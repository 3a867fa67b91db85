"""The limits of a whole tree. They live in the host, where no cell can reach them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rlm.core.budget import Spent, Stop, TurnLimit
from rlm.core.messages import Usage
from rlm.errors import AgentError


class TreeLimits:
    """What the tree may spend and has spent: completion tokens, agents, depth, and agents at work at once."""

    def __init__(self, *, tokens: int, agents: int, depth: int, working: int) -> None:
        self.agents = 0
        self.completion = 0
        self._tokens = tokens
        self._max_agents = agents
        self._depth = depth
        self._slots = asyncio.Semaphore(working)

    def admit(self, depth: int) -> None:
        """Count one more agent, `depth` levels below the root.

        Raises:
            AgentError: with `depth_limit` or `agent_budget`.
        """
        if depth > self._depth:
            reason = f"the depth limit of {self._depth} is reached: do it in this kernel, or raise RLM_MAX_DEPTH"
            raise AgentError(reason, Stop.DEPTH_LIMIT)
        if self.agents >= self._max_agents:
            raise AgentError(f"the tree has had its {self._max_agents} agents (RLM_MAX_AGENTS)", Stop.AGENT_BUDGET)
        self.agents += 1

    def carry_on(self, agents: int, usage: Usage) -> None:
        """Count what the tree has had already: its root, and what an earlier run of it spent."""
        self.agents += agents
        self.spend(usage)

    def can_recurse(self, depth: int) -> bool:
        """Whether an agent at `depth` may have children."""
        return depth < self._depth

    def spend(self, usage: Usage) -> None:
        self.completion += usage.completion

    @property
    def exhausted(self) -> bool:
        return 0 < self._tokens <= self.completion

    def new_slot(self) -> Slot:
        return Slot(self._slots)


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """The limits of one agent: its own turns, and the tokens of the tree."""

    turns: TurnLimit
    tree: TreeLimits

    def reached(self, spent: Spent) -> Stop | None:
        return Stop.TOKEN_BUDGET if self.tree.exhausted else self.turns.reached(spent)


class Slot:
    """One agent's right to work. It is released while the agent waits for sub-agents, so nesting cannot deadlock."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._taking = asyncio.Lock()
        self._taken = False
        self._children = 0

    async def __aenter__(self) -> Slot:
        await self._acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """While entered, a child works. Leaving it waits for a slot, unless other children still work."""
        self._children += 1
        self._release()
        try:
            yield
        finally:
            self._children -= 1
            await self._acquire()

    async def _acquire(self) -> None:
        async with self._taking:
            if self._taken or self._children:
                return
            await self._slots.acquire()
            self._taken = True
            if self._children:  # one more was asked for in the meantime
                self._release()

    def _release(self) -> None:
        if self._taken:
            self._taken = False
            self._slots.release()
