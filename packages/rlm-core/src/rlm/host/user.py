"""The user's actions beside an agent's tasks: messages while it works, and cells in its kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rlm.core.events import Event, OutputReceived, UserCellRan, UserCellStarted, UserOutputReceived
from rlm.core.messages import Kind, User
from rlm.core.ports import Sink
from rlm.errors import ConfigError
from rlm.kernel import JupyterKernel
from rlm.text.clip import clip

_MOST_REPORTED = 10_000  # characters of its output that the model gets
_INTERRUPTED = "[interrupted by the user]"


class UserChannel:
    """The user's channel to one agent. Messages are kept until the loop takes them."""

    def __init__(self, sink: Sink) -> None:
        self.kernel: JupyterKernel | None = None
        """The agent's own kernel; None if it has none."""
        self._sink = sink
        self._undelivered: list[tuple[str, Sequence[str]]] = []
        self._notes: list[str] = []

    def say(self, text: str, notes: Sequence[str] = ()) -> None:
        """Send a message with the next request. The `notes` come before it; the user did not write them."""
        self._undelivered.append((text, notes))

    def take_undelivered(self) -> list[str]:
        """Return and remove the messages that were not delivered."""
        said, self._undelivered = self._undelivered, []
        return [text for text, _ in said]

    def interjections(self) -> list[User]:
        """Return and remove the messages for the loop, after notes on what the user did before."""
        said, self._undelivered = self._undelivered, []
        messages = self.take_notes() if said else []
        for text, notes in said:
            messages += [*(User(note, Kind.NOTE) for note in notes), User(text)]
        return messages

    def note(self, text: str) -> None:
        """Add a note that the model reads before the user's next message."""
        self._notes.append(text)

    def take_notes(self) -> list[User]:
        """Return and remove the notes, for the next task."""
        notes, self._notes = self._notes, []
        return [User(note, Kind.NOTE) for note in notes]

    async def run_cell(self, code: str, *, told: bool) -> None:
        """Run a cell in the agent's kernel. Cancellation interrupts it.

        Args:
            told: the model learns of it with the user's next message.

        Raises:
            ConfigError: this agent has no kernel.
            KernelError: no kernel can be started.
        """
        if self.kernel is None:
            raise ConfigError("There is no kernel: the tool ipython is switched off (RLM_TOOLS).")
        self._sink(UserCellStarted(code))
        try:
            execution = await self.kernel.execute_for_user(code, self._on_output)
        except asyncio.CancelledError:
            self._end_cell(code, _INTERRUPTED, ok=False, told=told)
            raise
        self._end_cell(code, execution.text, ok=execution.ok, told=told)

    def _on_output(self, event: Event) -> None:
        if isinstance(event, OutputReceived):
            self._sink(UserOutputReceived(event.text))

    def _end_cell(self, code: str, output: str, *, ok: bool, told: bool) -> None:
        self._sink(UserCellRan(code, output, ok, told))
        if told:
            self.note(cell_note(code, output))


def cell_note(code: str, output: str) -> str:
    """Return the text that informs the model of a cell that the user ran."""
    shown = clip(output, _MOST_REPORTED).rstrip()
    return f"The user ran this cell in your kernel:\n```python\n{code}\n```\nOutput:\n```\n{shown}\n```"
