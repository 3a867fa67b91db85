"""`--confirm`: a person is asked before each cell, command and edit."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from rlm.core.history import History
from rlm.core.messages import Outcome, Schema
from rlm.core.ports import Tool

CONFIRMED = frozenset({"ipython", "bash", "edit"})
"""The tools that change something."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What the person says. `arguments`: to be used in place of the model's. `reason`: goes to the model."""

    ok: bool
    arguments: dict[str, Any] | None = None
    reason: str = ""


Approve = Callable[[str, dict[str, Any]], Awaitable[Approval]]
"""Asks about a tool's name and arguments. Cancelling it withdraws the question."""


class ConfirmingTool:
    """A tool that asks first."""

    def __init__(self, tool: Tool, approve: Approve) -> None:
        self._tool = tool
        self._approve = approve

    @property
    def name(self) -> str:
        return self._tool.name

    def schema(self) -> Schema:
        return self._tool.schema()

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
