"""How much a run may spend, how much it has spent, and why it stopped."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from rlm.core.messages import Usage


class Stop(StrEnum):
    """Why a run ended."""

    DONE = "done"
    MAX_TURNS = "max_turns"
    TOKEN_BUDGET = "token_budget"  # noqa: S105 - a stop reason, not a password
    COST_BUDGET = "cost_budget"
    AGENT_BUDGET = "agent_budget"
    TIMEOUT = "timeout"
    CONTEXT_LIMIT = "context_limit"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"
    ERROR = "error"
    DEPTH_LIMIT = "depth_limit"
    SCHEMA = "schema"

    @property
    def status(self) -> str:
        """The status in meta.json: done, limit, error or cancelled."""
        if self is Stop.SCHEMA:
            return "error"
        return str(self) if self in (Stop.DONE, Stop.ERROR, Stop.CANCELLED) else "limit"


class Spent(Struct, frozen=True):
    """What one agent spent. The newest prompt had `prompt` tokens and `prompt_size` characters."""

    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    prompt: int = 0
    prompt_size: int = 0


class TurnLimit:
    """The maximum number of turns for each task of one agent. `TreeLimits` has the limits of the whole tree."""

    def __init__(self, turns: int = 30) -> None:
        self.turns = turns
        self.last = turns
        """The number of the last turn of the current task."""

    def begin(self, spent: Spent) -> None:
        """Begin a task. `spent` is what the agent has used so far."""
        self.last = spent.turns + self.turns

    def reached(self, spent: Spent) -> Stop | None:
        return Stop.MAX_TURNS if spent.turns >= self.last else None


class Budget(Struct, frozen=True):
    """What a tree has spent, and what is left of each limit. None means that there is no such limit.

    `spent` is of all agents, in tokens and US dollars. `agents_left` is the number of agents that may still be started.
    `depth_left` is the number of levels below the agent that asks, and `seconds_left` the time until its task must end.
    """

    spent: Usage
    completion_left: int | None
    tokens_left: int | None
    cost_left: float | None
    agents_left: int
    depth_left: int
    seconds_left: float | None
