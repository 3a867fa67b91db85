"""A running cell, and the router that assigns output to it or to the time when no cell ran."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rlm.core.ports import Execution
from rlm.kernel import render
from rlm.kernel.death import length
from rlm.kernel.output import CellOutput
from rlm.kernel.protocol import Message

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # on Linux, the clock of process start times
_LARGEST_STATUS = 1_000
_DISPLAYS = {"display_data", "execute_result", "update_display_data"}


@dataclass(slots=True)
class RunningCell:
    """A running cell. `over` is done when its reply and all of its output have arrived, or its kernel has ended."""

    request: str
    """The id of the request that started it."""
    output: CellOutput
    over: asyncio.Future[None] = field(default_factory=asyncio.Future)
    begun: asyncio.Future[None] = field(default_factory=asyncio.Future)
    replied: asyncio.Future[Message] = field(default_factory=asyncio.Future)
    """Done when the cell has ended. Some of its output may arrive later."""
    sent_at: float = field(default_factory=lambda: time.clock_gettime(_CLOCK))
    internal: bool = False
    """True for a cell that is not the model's. Output while it runs counts as output between two cells."""
    idle: bool = False
    """True when all of its output has arrived."""

    async def wait_until_begun(self, timeout: float | None = None) -> None:
        """Wait until it has begun, or is over. An interrupt that comes earlier does not reach it."""
        await asyncio.wait({self.begun, self.over}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def execution(self, note: str) -> Execution:
        """Return the result. `note` says what went wrong, if anything did; it is the last line of the text."""
        text = self.output.text()
        last = note or ("[no output]" if self.output.empty else "")
        break_ = "\n" if last and text and not text.endswith("\n") else ""
        reply = self.replied.result() if self.replied.done() else None
        ok = reply is not None and reply.content.get("status") == "ok" and not note
        ours = reply.metadata.get("rlm") if reply is not None else None
        # as `rlm.inside.child_statuses` reports it; a kernel can write anything
        status = ours.get("exit_status") if isinstance(ours, dict) else 0
        exit_status = status if type(status) is int and abs(status) < _LARGEST_STATUS else 0
        return Execution(text + break_ + last, ok, tuple(self.output.pictures), exit_status)


class Published(NamedTuple):
    """A message on iopub. For a display also its content, and the path of its picture."""

    message: Message
    display: render.Display | None = None
    saved: Path | str = ""


class OutputRouter:
    """Assign each message on iopub to an output.

    iopub is in order: messages between a cell's busy and idle status belong to the cell; all others are late output.
    """

    def __init__(
        self, decode: Callable[[list[bytes]], Message | None], pictures: Path, new_late: Callable[[], CellOutput]
    ) -> None:
        self._decode = decode
        self._pictures = pictures
        self._new_late = new_late
        self._late = new_late()
        self._printing: RunningCell | None = None
        self.concurrent: RunningCell | None = None
        """A cell of the user that runs beside the agent's cell. Its messages name its request as their parent."""
        self.received = 0
        """Bytes of text received."""
        self.news = ""
        """Text at the beginning of the next cell's result."""

    def _output_of(self, message: Message) -> CellOutput:
        beside, printing = self.concurrent, self._printing  # read once: in a thread, they may change meanwhile
        if beside is not None and message.parent == beside.request:
            return beside.output
        return printing.output if printing else self._late

    def digest(self, parts: list[bytes]) -> Published | None:
        """Decode a message and save its picture: the slow part, which can run in a thread. None: it is not valid."""
        message = self._decode(parts)
        if message is None:
            return None
        if message.kind not in _DISPLAYS:
            return Published(message)
        display = render.display(message)
        if display.picture is None:
            return Published(message, display)
        return Published(message, display, self._output_of(message).save(display.picture, self._pictures))

    def route(self, published: Published) -> None:
        message, display, saved = published
        output = self._output_of(message)
        if message.kind == "stream":
            text = render.stream(message)
            self.received += length(text)
            output.write(text)
        elif message.kind == "error":
            output.error(render.error(message))
        elif message.kind == "clear_output":
            output.clear(wait=bool(message.content.get("wait")))
        elif display is not None:
            output.show(display, saved)

    def begin(self, cell: RunningCell) -> None:
        """Note that the cell has begun. Assign the output from now on to a cell of the model."""
        if not cell.begun.done():
            cell.begun.set_result(None)
        if cell.internal:
            return
        if cell is not self.concurrent:
            if late := self.take_late():
                cell.output.line(f"[output since the last cell]\n{late}")
                cell.output.line("[this cell]")
            self._printing = cell
        cell.output.begin()

    def end(self) -> None:
        """Treat the output from now on as late output."""
        self._printing = None

    def take_late(self) -> str:
        """Take the news and the output that was printed while no cell ran."""
        news, self.news = self.news, ""
        if late := self._late.text():
            self._late.close()
            self._late = self._new_late()
        return news + late

    def add_unsent(self, text: str, cell: RunningCell | None) -> None:
        """Add the output that a dead kernel could not send. The message that the cell had begun may be missing too."""
        if not text:
            return
        if self._printing is None and cell is not None and not cell.idle and not cell.over.done():
            self.begin(cell)
        (self._printing.output if self._printing else self._late).write(text)

    def close(self) -> None:
        self._late.close()
