"""A cell that runs, and which output is whose: the cell's, or what was printed while none ran."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rlm.kernel import render
from rlm.kernel.death import length
from rlm.kernel.output import CellOutput
from rlm.kernel.protocol import Message

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # that of processes' births, on Linux
_LARGEST_STATUS = 1_000
_DISPLAYS = {"display_data", "execute_result", "update_display_data"}


@dataclass(slots=True)
class RunningCell:
    """A cell that runs. `over` is done when all of it is here, or its kernel has ended."""

    request: str
    output: CellOutput
    over: asyncio.Future[None]
    begun: asyncio.Future[None]
    replied: asyncio.Future[Message]
    """It has ended; what it printed may still be on its way."""
    began: float = field(default_factory=lambda: time.clock_gettime(_CLOCK))
    internal: bool = False
    """Not the model's: what is printed while it runs is output between two cells."""
    start: int = 0
    """How long `output` was when the cell began: what came late is in it."""
    idle: bool = False

    def begin(self) -> None:
        """Its output begins."""
        if not self.begun.done():
            self.begun.set_result(None)
        if not self.internal:
            self.output.begin()
            self.start = len(self.output)

    @property
    def reply(self) -> Message | None:
        return self.replied.result() if self.replied.done() else None

    @property
    def ok(self) -> bool:
        return self.reply is not None and self.reply.content.get("status") == "ok"

    @property
    def exit_status(self) -> int:
        """See `rlm.inside.child_statuses`; 0 where the kernel did not say it."""
        ours = self.reply.metadata.get("rlm") if self.reply is not None else None
        status = ours.get("exit_status") if isinstance(ours, dict) else 0
        return status if type(status) is int and abs(status) < _LARGEST_STATUS else 0

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class Published(NamedTuple):
    """A message on iopub. `display` and where its picture is, if it shows something."""

    message: Message
    display: render.Display | None = None
    saved: Path | str = ""


class OutputRouter:
    """iopub is in order: what comes between a cell's busy and its idle is the cell's, all else came late."""

    def __init__(self, pictures: Path, new_late: Callable[[], CellOutput]) -> None:
        self._pictures = pictures
        self._new_late = new_late
        self._late = new_late()
        self._printing: RunningCell | None = None
        self.concurrent: RunningCell | None = None
        """A cell of the user that runs beside the other one: what it prints bears its name."""
        self.received = 0
        """Bytes of text."""
        self.news = ""
        """What the next cell's result begins with."""

    @property
    def _output(self) -> CellOutput:
        return self._printing.output if self._printing else self._late

    def _output_of(self, message: Message) -> CellOutput:
        beside = self.concurrent
        return beside.output if beside is not None and message.parent == beside.request else self._output

    def digest(self, message: Message) -> Published:
        """The heavy part, perhaps in a thread."""
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
        """From now on output is the cell's."""
        late = "" if cell.internal else self.take_late()
        if late:
            cell.output.line(f"[output since the last cell]\n{late}")
            cell.output.line("[this cell]")
        cell.begin()
        if not cell.internal:
            self._printing = cell

    def end(self) -> None:
        """From now on output comes late."""
        self._printing = None

    def take_late(self) -> str:
        """The news, and what was printed while no cell ran."""
        late, self.news = self.news, ""
        if len(self._late):
            late += self._late.text()
            self._late.close()
            self._late = self._new_late()
        return late

    def add_unsent(self, text: str, cell: RunningCell | None) -> None:
        """What a dead kernel could no longer send. That the cell had begun may be among it."""
        if text and self._printing is None and cell is not None and not cell.idle and not cell.over.done():
            self.begin(cell)
        if text:
            self._output.write(text)

    def close(self) -> None:
        self._late.close()
