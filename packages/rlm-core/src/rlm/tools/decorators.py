"""Tools that wrap another tool and change its result."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from rlm.core.budget import TurnLimit
from rlm.core.history import History
from rlm.core.messages import Outcome, Schema
from rlm.core.ports import Tool
from rlm.text.redact import Redactor

_FEW = 3


class ToolAround:
    """A tool around another one, with the same name and schema for the model."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    @property
    def name(self) -> str:
        return self._tool.name

    def schema(self) -> Schema:
        return self._tool.schema()


class TurnsLeft(ToolAround):
    """Show near the limit of turns how many are left: in a result, not in the prompt, which is cached.

    Of a short task only the last quarter counts as near the limit, so a task of three turns gets no hint.
    """

    def __init__(self, tool: Tool, limit: TurnLimit) -> None:
        super().__init__(tool)
        self._limit = limit
        self._few = min(_FEW, limit.turns // 4)

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        outcome = await self._tool.run(arguments, history)
        left = self._limit.last - history.turns
        if not 1 <= left <= self._few:
            return outcome
        hint = "; answer with what you have" if left == 1 else ""
        return outcome.with_line(f"[turns left: {left}{hint}]")


class RedactingTool(ToolAround):
    """A tool whose results never contain the key, so that neither the model nor the journal gets it."""

    def __init__(self, tool: Tool, redactor: Redactor) -> None:
        super().__init__(tool)
        self._redactor = redactor

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        outcome = await self._tool.run(arguments, history)
        return replace(outcome, content=self._redactor.text(outcome.content))


# ---- `--confirm`

CONFIRMED = frozenset({"ipython", "bash", "edit"})
"""The tools that can change something."""


@dataclass(frozen=True, slots=True)
class Approval:
    """The user's answer. `arguments` replace those of the model. `reason` is sent to the model."""

    ok: bool
    arguments: dict[str, Any] | None = None
    reason: str = ""


Approve = Callable[[str, dict[str, Any]], Awaitable[Approval]]
"""Asks the user about a tool call, by its name and arguments. Cancelling withdraws the question."""


class ConfirmingTool(ToolAround):
    """A tool that asks the user before each call."""

    def __init__(self, tool: Tool, approve: Approve) -> None:
        super().__init__(tool)
        self._approve = approve

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        approval = await self._approve(self.name, arguments)
        if not approval.ok:
            reason = f": {approval.reason}" if approval.reason else "."
            return Outcome(f"Not run: the user did not allow it{reason}", ok=False)
        if approval.arguments is None or approval.arguments == arguments:
            return await self._tool.run(arguments, history)
        outcome = await self._tool.run(approval.arguments, history)
        changed = json.dumps(approval.arguments, ensure_ascii=False)
        return replace(outcome, content=f"[The user changed the arguments before it ran: {changed}]\n{outcome.content}")
