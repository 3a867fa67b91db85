"""The limits of a whole tree. They are in the host process, where no cell can change them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from rlm.core.budget import Budget, Spent, Stop, TurnLimit
from rlm.core.messages import Usage
from rlm.core.slots import Slots
from rlm.errors import AgentError

_RESERVE_DIVISOR = 10
"""At most a tenth of each limit is reserved for the last request."""
_RESERVE_FACTOR = 2
"""The reserve is also at most the use of the most expensive request so far, times this factor."""


class TreeLimits:
    """What the tree may use and has used: tokens, dollars, agents, depth, and agents that run at once."""

    def __init__(
        self,
        *,
        tokens: int,
        agents: int,
        depth: int,
        working: int,
        total_tokens: int = 0,
        cost: float | None = None,
        last_request: bool = False,
    ) -> None:
        """`tokens` limits completion tokens, `total_tokens` all uncached tokens; 0 is no limit. `cost`: dollars.

        With `last_request`, the tree stops a little before its limits, so that its root can be asked for the answer.
        """
        self.agents = 0
        self.spent = Usage()
        self._last_request = last_request
        self._most_expensive = (0.0, 0.0, 0.0)  # completion tokens, new tokens and dollars of a request
        self._tokens = tokens
        self._total_tokens = total_tokens
        self._cost = cost
        self._max_agents = agents
        self._depth = depth
        self._slots = Slots(working)

    def admit(self, depth: int) -> int:
        """Count one more agent, `depth` levels below the root. Return how many agents there were before it.

        Raises:
            AgentError: with `depth_limit` or `agent_budget`.
        """
        if depth > self._depth:
            reason = f"the depth limit of {self._depth} is reached: do the task in this kernel, or raise RLM_MAX_DEPTH"
            raise AgentError(reason, Stop.DEPTH_LIMIT)
        if self.agents >= self._max_agents:
            reason = f"the tree has used all of its {self._max_agents} agents (RLM_MAX_AGENTS)"
            raise AgentError(reason, Stop.AGENT_BUDGET)
        self.agents += 1
        return self.agents - 1

    def change(self, *, total_tokens: int, cost: float | None) -> None:
        """Set new limits. They apply to all past and future use of the tree."""
        self._total_tokens, self._cost = total_tokens, cost

    def add_earlier(self, agents: int, usage: Usage) -> None:
        """Count what the tree has used before: its root, and the agents and usage of an earlier run."""
        self.agents += agents
        self.spent += usage

    def can_recurse(self, depth: int) -> bool:
        """Return whether an agent at `depth` may have children."""
        return depth < self._depth

    def spend(self, usage: Usage) -> None:
        """Count the usage of one request."""
        self.spent += usage
        sizes = (usage.completion, usage.new_tokens, usage.cost or 0.0)
        completion, new, cost = map(max, self._most_expensive, sizes)
        self._most_expensive = (completion, new, cost)

    @property
    def exhausted(self) -> Stop | None:
        """The limit that is reached, or None. Usage of unknown price reaches any cost limit."""
        spent = self.spent
        completion, new, cost = self._most_expensive
        if (
            self._cost is not None
            and not spent.empty
            and (spent.cost is None or spent.cost >= self._without_reserve(self._cost, cost))
        ):
            return Stop.COST_BUDGET
        tokens = self._tokens and spent.completion >= self._without_reserve(self._tokens, completion)
        total = self._total_tokens and spent.new_tokens >= self._without_reserve(self._total_tokens, new)
        return Stop.TOKEN_BUDGET if tokens or total else None

    def _without_reserve(self, limit: float, most_expensive: float) -> float:
        """Return the part of a limit that may be used before the last request."""
        return limit - min(limit / _RESERVE_DIVISOR, _RESERVE_FACTOR * most_expensive) if self._last_request else limit

    def budget(self, depth: int, seconds_left: float | None) -> Budget:
        """Return the remaining budget of an agent at `depth`."""
        spent = self.spent
        return Budget(
            spent,
            max(0, self._tokens - spent.completion) if self._tokens else None,
            max(0, self._total_tokens - spent.new_tokens) if self._total_tokens else None,
            None if self._cost is None else max(0.0, self._cost - (spent.cost or 0.0)),
            max(0, self._max_agents - self.agents),
            max(0, self._depth - depth),
            seconds_left,
        )

    def new_slot(self) -> Slot:
        """Create the slot of the root."""
        return Slot(self._slots)


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """The limits of one agent: its own turns, and the limits of the tree."""

    turns: TurnLimit
    tree: TreeLimits

    def reached(self, spent: Spent) -> Stop | None:
        """Return the limit that is reached; None if there is none."""
        return self.tree.exhausted or self.turns.reached(spent)


class Slot:
    """One agent's slot. The agent releases it while it waits for sub-agents, so nesting cannot deadlock.

    The queue serves agents that continue after their sub-agents first, then new agents, the deepest first. So nested
    work is done before other work begins. The next agent is queued before a slot is released: a child gets its parent's
    slot, a parent gets its last child's slot, and no other agent takes it between them.
    """

    def __init__(self, slots: Slots, depth: int = 0, parent: Slot | None = None) -> None:
        self._slots = slots
        self._depth = depth
        self._parent = parent
        self._taken = False
        self._entered = 0
        self._children = 0
        self._queued = 0
        self._request: asyncio.Future[None] | None = None  # the place in the queue to continue
        self._owner: asyncio.Task[object] | None = None
        self._cancels = 0

    async def __aenter__(self) -> Slot:
        """Acquire the slot. It may be entered again inside; the outermost exit releases it."""
        if not (self._taken or self._children):
            await self._slots.acquire((0, self._depth))
            self._taken = True
        if (owner := asyncio.current_task()) is not None:  # count only later cancellations of this task
            self._owner, self._cancels = owner, owner.cancelling()
        self._entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        if not self._entered:
            self._release()

    @property
    def cancelled(self) -> bool:
        """True if the agent or one above it is being cancelled: it needs no slot, and its sub-agents get none."""
        own = self._owner is not None and self._owner.cancelling() > self._cancels
        return own or (self._parent is not None and self._parent.cancelled)

    @asynccontextmanager
    async def child(self, on_queue: Callable[[int], None] = lambda _: None) -> AsyncIterator[Slot]:
        """Acquire a slot for a sub-agent. This agent holds no slot until all of its sub-agents have released theirs.

        `on_queue` gets the number of this agent's sub-agents in the queue, whenever it changes.

        Raises:
            AgentError: this agent was cancelled while the sub-agent was in the queue.
        """
        child = Slot(self._slots, self._depth + 1, self)
        self._children += 1
        request = self._slots.request((1, -child._depth))
        self._release()
        try:
            with self._counting_in_queue(request, on_queue):
                await self._slots.granted(request)
            child._taken, child._entered = True, 1
            if self.cancelled:
                raise AgentError("the agent that asked for it was cancelled", Stop.CANCELLED)
            yield child
        finally:
            self._children -= 1
            idle = self._entered and not (self._taken or self._children)
            if idle and self._request is None and not self.cancelled:  # queue before the child releases its slot
                self._request = self._slots.request((0, self._depth))
                self._request.add_done_callback(self._reacquired)
            child._release()
            if self._request is not None:
                await asyncio.wait({self._request})

    @contextmanager
    def _counting_in_queue(self, request: asyncio.Future[None], on_queue: Callable[[int], None]) -> Iterator[None]:
        if request.done():
            yield
            return
        self._queued += 1
        on_queue(self._queued)
        try:
            yield
        finally:
            self._queued -= 1
            on_queue(self._queued)

    def _reacquired(self, _: object) -> None:
        self._request = None
        self._taken = True
        if self._children or not self._entered:  # another child was started, or the agent has ended
            self._release()

    def _release(self) -> None:
        if self._taken:
            self._taken = False
            self._slots.release()
