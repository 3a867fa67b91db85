"""Near the limit of turns, results say how many are left. In a result and not in the prompt, which is cached."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rlm.core.budget import TurnLimit
from rlm.core.history import History
from rlm.core.messages import Outcome, Schema
from rlm.core.ports import Tool

_FEW = 3


class TurnsLeft:
    """A tool of an agent that has so many turns for its task.

    Of a short task only the last quarter is near its end, so that three turns need no hint.
    """

    def __init__(self, tool: Tool, limit: TurnLimit) -> None:
        self._tool = tool
        self._limit = limit
        self._few = min(_FEW, limit.turns // 4)

    @property
    def name(self) -> str:
        return self._tool.name

    def schema(self) -> Schema:
        return self._tool.schema()

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        outcome = await self._tool.run(arguments, history)
        left = self._limit.last - history.turns
        if not 1 <= left <= self._few:
            return outcome
        break_ = "" if outcome.content.endswith("\n") else "\n"
        hint = "; answer with what you have" if left == 1 else ""
        return replace(outcome, content=f"{outcome.content}{break_}[turns left: {left}{hint}]")
