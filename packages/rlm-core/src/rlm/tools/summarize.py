"""The tool `summarize`: replace the oldest turns of the conversation by a summary."""

from __future__ import annotations

from typing import Any

from rlm.core.history import History, Summary
from rlm.core.messages import Forget, Outcome, Schema
from rlm.core.ports import Kernel


class Summarize:
    """Drop old turns. With a `kernel`, the model can also restart it."""

    name = "summarize"

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel

    def schema(self) -> Schema:
        properties: Schema = {
            "num_turns": {"type": "integer", "description": "how many of the oldest turns to drop"},
            "summary": {"type": "string", "description": "what to keep of them"},
        }
        if self._kernel is not None:
            properties["flush_repl_state"] = {"type": "boolean", "description": "also restart the kernel"}
        return {
            "name": self.name,
            "description": "Drop the oldest turns from the context. Returns all summaries so far.",
            "parameters": {"type": "object", "properties": properties, "required": ["num_turns", "summary"]},
        }

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        wanted, summary = arguments["num_turns"], arguments["summary"].strip()
        turns = [turn for turn in history.live_turns() if turn != history.turns]
        if not turns:
            return Outcome("[no-op] There is no turn before this one.")
        if not 1 <= wanted <= len(turns):
            return Outcome(f"[no-op] num_turns must be 1 to {len(turns)}; nothing was dropped.")
        if not summary:
            return Outcome("[no-op] The summary is empty; nothing was dropped.")
        if self._kernel is not None and arguments.get("flush_repl_state"):
            await self._kernel.restart("requested with summarize")
        new = Summary(turns[0], turns[wanted - 1], summary)
        return Outcome("\n".join(map(str, (*history.summaries, new))), forget=Forget(wanted, summary))
