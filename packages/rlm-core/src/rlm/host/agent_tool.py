"""One agent's tool: what happens before and after each call, whichever tool it is."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from rlm.core.budget import TurnLimit
from rlm.core.history import History
from rlm.core.messages import Outcome, Schema
from rlm.core.ports import Tool
from rlm.text.redact import Redactor

if TYPE_CHECKING:
    from rlm.host.answers import AnswerStore
    from rlm.host.checkpoint import Checkpoints
    from rlm.host.recorded_results import RecordedResults

CONFIRMED = frozenset({"ipython", "bash", "edit"})
"""The tools that can change something: with `--confirm`, the user is asked before each call."""
_FEW = 3  # turns

_ANSWER_LOST = "[the cell failed after `rlm.answer`, so the answer was not taken]"


@dataclass(frozen=True, slots=True)
class Approval:
    """The user's answer. `arguments` replace those of the model. `reason` is sent to the model."""

    ok: bool
    arguments: dict[str, Any] | None = None
    reason: str = ""


Approve = Callable[[str, dict[str, Any]], Awaitable[Approval]]
"""Asks the user about a tool call, by its name and arguments. Cancelling withdraws the question."""


class AgentTool:
    """A tool with the same name and schema as `tool`. It asks the user before a call, and completes the result."""

    def __init__(
        self,
        tool: Tool,
        turns: TurnLimit,
        *,
        redactor: Redactor | None = None,
        approve: Approve | None = None,
        checkpoints: Checkpoints | None = None,
        answers: AnswerStore | None = None,
        recorded: RecordedResults | None = None,
    ) -> None:
        """
        Args:
            tool: the tool itself.
            turns: near this limit, each result says how many turns are left.
            redactor: removes credentials from results, so that neither the model nor the journal gets them.
            approve: asks the user before each call.
            checkpoints: save the kernel's variables after each call.
            answers: may get the agent's answer during a call.
            recorded: has given recorded results to the calls of cells. A note in the result names them.
        """
        self.name = tool.name
        self._tool = tool
        self._turns = turns
        self._few = min(_FEW, turns.turns // 4)  # so a task of three turns gets no hint
        self._redactor = redactor
        self._approve = approve
        self._checkpoints = checkpoints
        self._answers = answers
        self._recorded = recorded

    def schema(self) -> Schema:
        return self._tool.schema()

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        changed = ""
        if self._approve is not None:
            approval = await self._approve(self.name, arguments)
            if not approval.ok:
                reason = f": {approval.reason}" if approval.reason else "."
                return self._completed(Outcome(f"Not run: the user did not allow it{reason}", ok=False), history)
            if approval.arguments is not None and approval.arguments != arguments:
                arguments = approval.arguments
                shown = json.dumps(arguments, ensure_ascii=False)
                changed = f"[The user changed the arguments before it ran: {shown}]\n"
        outcome = await self._tool.run(arguments, history)
        if self._checkpoints is not None:
            outcome = outcome.with_line(await self._checkpoints.save())
        if self._answers is not None and self._answers.pending:
            if outcome.ok:
                outcome = replace(outcome, answer=self._answers.take().text)
            else:
                self._answers.discard()
                outcome = outcome.with_line(_ANSWER_LOST)
        if self._recorded is not None and (note := self._recorded.note()):
            outcome = outcome.with_line(note)
        return self._completed(replace(outcome, content=f"{changed}{outcome.content}") if changed else outcome, history)

    def _completed(self, outcome: Outcome, history: History) -> Outcome:
        """Add the turns that are left, if they are few: in a result, not in the prompt, which is cached. Redact."""
        left = self._turns.last - history.turns
        if 1 <= left <= self._few:
            hint = "; answer with what you have" if left == 1 else ""
            outcome = outcome.with_line(f"[turns left: {left}{hint}]")
        return replace(outcome, content=self._redactor.text(outcome.content)) if self._redactor else outcome
