"""`--confirm`: asks the user about one tool call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rlm.host.agent_tool import Approval

HELP = "y: run it · n, with an optional reason: do not · e: edit it · a: run it and all later ones"

_EDITED = ("code", "command", "new_str")
"""The argument of a tool call that the user edits."""


class Questions:
    """
    Args:
        show: shows the call in question.
        edit: puts a text into the input for editing.
    """

    def __init__(self, show: Callable[[str, dict[str, Any]], None], edit: Callable[[str], None]) -> None:
        self._show = show
        self._edit = edit
        self._turn = asyncio.Lock()
        self._open: asyncio.Future[Approval] | None = None
        self._arguments: dict[str, Any] = {}
        self._editing = ""
        self._always = False

    @property
    def open(self) -> bool:
        """Whether the next input is an answer."""
        return self._open is not None

    @property
    def editing(self) -> bool:
        """Whether the next input is an edited cell."""
        return self.open and self._editing != ""

    async def ask(self, tool: str, arguments: dict[str, Any]) -> Approval:
        """Ask about a call. This is `rlm.host.agent_tool.Approve` for all agents of a run."""
        async with self._turn:
            if self._always:
                return Approval(ok=True)
            self._open = asyncio.get_running_loop().create_future()
            self._arguments, self._editing = arguments, ""
            self._show(tool, arguments)
            try:
                return await self._open
            finally:
                self._open = None

    def answer(self, text: str) -> bool:
        """Handle an input; return whether it is an answer."""
        if self._editing and text.strip():
            approval: Approval | None = Approval(ok=True, arguments=self._arguments | {self._editing: text})
        else:
            approval = self._meaning(text.strip())
        if approval is not None and self._open is not None and not self._open.done():
            self._open.set_result(approval)
        return approval is not None or self._editing != ""

    def _meaning(self, text: str) -> Approval | None:
        word, _, rest = text.partition(" ")
        match word.lower():
            case "y" | "yes" if not rest:
                return Approval(ok=True)
            case "a" | "always" if not rest:
                self._always = True
                return Approval(ok=True)
            case "n" | "no":
                return Approval(ok=False, reason=rest.strip())
            case "e" | "edit" if not rest:
                self._editing = next((name for name in _EDITED if isinstance(self._arguments.get(name), str)), "")
                if self._editing:
                    self._edit(self._arguments[self._editing])
        return None
