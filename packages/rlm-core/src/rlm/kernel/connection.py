"""One kernel process from start to end, and what is heard from it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from rlm.errors import KernelError
from rlm.kernel import render
from rlm.kernel.crash_output import length, unsent
from rlm.kernel.output import CellOutput
from rlm.kernel.protocol import Message, MessageCodec
from rlm.kernel.server import KernelProcess, KernelServer, LaunchRequest
from rlm.kernel.spec import KernelSpec
from rlm.process import files

if TYPE_CHECKING:
    from rlm.kernel.channels import Channel

_START = 60.0  # seconds for a kernel to come up, on a machine that starts fifty at once
_GRACE = 2.0  # seconds of silence between the reply to a cell and the end of its output, or the other way round
_QUIET = 0.02  # seconds of silence after which a dead kernel has said everything
_MACHINERY = "IPython/core/interactiveshell.py"  # below it a stack tells nothing
_UNHEARD = "it hung up, or it sent a message of more than 256 MiB or 1,000 parts, and was killed"
_NAMES = 10_000  # names at most that are remembered

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # that of processes' births, on Linux

Heard = tuple[Message, render.Display | None, Path | str]


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
    aside: bool = False
    """Not the model's: what is printed while it runs is output between two cells."""
    start: int = 0
    """How long the printout was when the cell began: what came late is in it."""
    idle: bool = False

    @property
    def reply(self) -> Message | None:
        return self.replied.result() if self.replied.done() else None

    @property
    def ok(self) -> bool:
        return self.reply is not None and self.reply.content.get("status") == "ok"

    def end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class KernelConnection:
    """Begins with `begin`, must be ended with `end`."""

    def __init__(self, spec: KernelSpec, number: int, new_late: Callable[[], CellOutput]) -> None:
        self.names: tuple[str, ...] = ()
        self.ending = ""
        self.news = ""
        """What the next cell's result must tell first."""
        self._new_late = new_late
        self._late = new_late()
        self.dead = False
        self.drained = asyncio.Event()
        self._spec = spec
        # a later one with a part that nobody can guess: the one before may have put things in the place of its files
        self._base = spec.run_dir / (f"k{number}" if number == 1 else f"k{number}-{token_hex(4)}")
        self._words = self._base.with_suffix(".words")
        self._key = token_hex(16)
        self._wire = MessageCodec(self._key)
        self._heard = asyncio.Event()
        self._cell: RunningCell | None = None
        self._printing: RunningCell | None = None
        self._received = 0  # bytes of text
        self._process: KernelProcess | None = None
        self._channels: list[Channel[Any]] = []
        self._lost = False  # a channel
        self._killing: asyncio.Task[None] | None = None

    # ---- from start to end

    async def begin(self, server: KernelServer, on_death: Callable[[KernelConnection], None]) -> None:
        """Returns when cells can be run.

        Raises:
            KernelError: it did not come up.
        """
        from rlm.kernel.channels import DEALER, SUB, Channel  # what no other command of rlm needs

        self._write_launch()
        door = await self._spec.door() if self._spec.door else ""
        request = LaunchRequest(self._base, self._spec.env, self._spec.cwd, self._spec.program, door)
        self._process = await server.launch(request)
        self._channels = [
            Channel(DEALER, f"{self._base}-1", self._wire.read, self._on_reply, self._on_loss),
            Channel(SUB, f"{self._base}-2", self._digest, self._on_output, self._on_loss),
        ]
        await self._come_up(self._process, server)
        self._process.ended.add_done_callback(lambda _: self._on_end(on_death))

    async def end(self) -> None:
        """Kill the kernel and all that it started, and remove its files."""
        self.dead = True
        for channel in self._channels:
            channel.close()
        try:
            if self._process is not None:
                await self._process.kill()
        finally:
            self._late.close()
            self._remove_files()

    @property
    def why_dead(self) -> str:
        if self._killing is not None:
            return _UNHEARD
        return how_it_ended(
            self._process.ended.result() if self._process is not None and self._process.ended.done() else None
        )

    def last_words(self) -> str:
        """What it wrote to its log, once it has ended: why it could not start, or where it crashed."""
        lines = self._process.log.strip().splitlines() if self._process is not None else []
        return "".join(f"{line}\n" for line in itertools.takewhile(lambda line: _MACHINERY not in line, lines))

    # ---- cells

    def ask(self, code: str, output: CellOutput, *, aside: bool = False) -> RunningCell:
        """Have a cell run."""
        content = {
            "code": code,
            "silent": False,
            "store_history": not aside,
            "allow_stdin": False,
            "stop_on_error": False,
        }
        request, parts = self._wire.request("execute_request", content)
        future = asyncio.get_running_loop().create_future
        self._cell = RunningCell(request, output, over=future(), begun=future(), replied=future(), aside=aside)
        self._channels[0].send(parts)
        return self._cell

    def interrupt(self) -> None:
        if self._process is not None and not self.dead:
            self._process.interrupt()

    async def sweep(self, cell: RunningCell) -> None:
        """Kill what the cell has started."""
        if self._process is not None:
            await self._process.sweep(cell.began - 0.01)  # processes know their birth to a hundredth

    # ---- what is heard

    def _digest(self, parts: list[bytes]) -> Heard | None:
        """The heavy part, perhaps in a thread."""
        message = self._wire.read(parts)
        if message is None:
            return None
        if message.kind not in {"display_data", "execute_result", "update_display_data"}:
            return message, None, ""
        display = render.display(message)
        if display.picture is None:
            return message, display, ""
        output = self._printing.output if self._printing else self._late
        return message, display, output.save(display.picture, self._spec.outputs)

    def _on_output(self, heard: Heard | None) -> None:
        """iopub is in order: what comes between a cell's busy and its idle is the cell's, all else came late."""
        self._heard.set()
        if heard is None:
            return
        message, display, saved = heard
        output = self._printing.output if self._printing else self._late
        if message.kind == "status":
            self._on_status(message)
        elif message.kind == "stream":
            text = render.stream(message)
            self._received += length(text)
            output.write(text)
        elif message.kind == "error":
            output.error(render.error(message))
        elif message.kind == "clear_output":
            output.clear(wait=bool(message.content.get("wait")))
        elif display is not None:
            output.show(display, saved)

    def _on_status(self, message: Message) -> None:
        cell = self._cell
        if cell is None or message.parent != cell.request:
            return
        if message.content.get("execution_state") == "busy":
            self._begin_cell(cell)
        elif message.content.get("execution_state") == "idle":
            self._printing, cell.idle = None, True
            self._settle(cell)

    def _begin_cell(self, cell: RunningCell) -> None:
        if not cell.begun.done():
            cell.begun.set_result(None)
        if not cell.aside:
            self._print_to(cell)

    def _print_to(self, cell: RunningCell) -> None:
        late = self.take_late()
        if late:
            cell.output.line(f"[output since the last cell]\n{late}")
            cell.output.line("[this cell]")
        cell.output.begin()
        cell.start = len(cell.output)
        self._printing = cell

    def take_late(self) -> str:
        """The news, and what was printed while no cell ran."""
        late, self.news = self.news, ""
        if len(self._late):
            late += self._late.text()
            self._late.close()
            self._late = self._new_late()
        return late

    def _on_reply(self, message: Message | None) -> None:
        cell = self._cell
        if message is None or cell is None or message.kind != "execute_reply" or message.parent != cell.request:
            return
        if not cell.replied.done():
            cell.replied.set_result(message)
        told = message.metadata.get("rlm")
        if isinstance(told, dict):
            names = told.get("names")
            self.names = _texts(names[:_NAMES]) if isinstance(names, list) else ()
            self.ending = "".join(_texts([told.get("ending")], 500))
        self._settle(cell)

    def _settle(self, cell: RunningCell) -> None:
        """Over when both the reply and the idle have come, or one of them and then nothing more."""
        if cell.reply is not None and cell.idle:
            cell.end()
        else:
            self._heard.clear()
            asyncio.get_running_loop().call_later(_GRACE, self._end_if_silent, cell)

    def _end_if_silent(self, cell: RunningCell) -> None:
        if not self._heard.is_set() and not self._channels[1].busy and not self._lost:
            cell.end()
        elif not cell.over.done():
            self._settle(cell)

    # ---- death

    def _on_loss(self) -> None:
        """Of a channel. A kernel that ends is about to do so; another one would run without being heard."""
        self._lost = True
        asyncio.get_running_loop().call_later(_GRACE, self._kill_unheard)

    def _kill_unheard(self) -> None:
        if not self.dead and self._process is not None:
            self._killing = asyncio.create_task(self._process.kill())

    def _on_end(self, tell: Callable[[KernelConnection], None]) -> None:
        if not self.dead:
            self.dead = True
            asyncio.get_running_loop().create_task(self._hear_the_rest(tell))

    async def _hear_the_rest(self, tell: Callable[[KernelConnection], None]) -> None:
        """What it printed before it died is still on its way."""
        for _ in range(10):
            self._heard.clear()
            await asyncio.sleep(_QUIET)
            if not self._heard.is_set() and not self._channels[1].busy:
                break
        self._take_last_words()
        self._printing = None
        tell(self)
        self.drained.set()
        if self._cell is not None:
            self._cell.end()

    def _take_last_words(self) -> None:
        """What it could no longer send; that a cell had begun may be among it."""
        rest = unsent(self._words, self._received)
        cell = self._cell
        if rest and self._printing is None and cell is not None and not cell.idle and not cell.over.done():
            self._begin_cell(cell)
        if rest:
            (self._printing.output if self._printing else self._late).write(rest)

    # ---- the details of starting

    def _write_launch(self) -> None:
        if self._spec.door is None and not self._spec.cwd.is_dir():  # what a sandbox has is not ours to look at
            raise KernelError(f"A kernel could not be started: its folder {self._spec.cwd} is gone.")
        if len(os.fsencode(self._base)) > 90:
            raise KernelError(f"The path of the runtime folder {self._spec.run_dir} is too long for sockets.")
        context = self._spec.context
        launch = {
            "transport": "ipc",
            "ip": str(self._base),
            "shell_port": 1,
            "iopub_port": 2,
            "key": self._key,
            "signature_scheme": "hmac-sha256",
            "rlm": {"context": [context[0], str(context[1].absolute())] if context else None},
        }
        try:
            files.write_new(self._base, json.dumps(launch).encode())
        except OSError as error:
            raise KernelError(f"A kernel could not be started: {error}") from error

    async def _come_up(self, process: KernelProcess, server: KernelServer) -> None:
        """The kernel publishes nothing before we have subscribed; its first message says that it is there."""
        heard = asyncio.create_task(self._heard.wait())
        signs: list[asyncio.Future[Any]] = [heard, process.ended]
        try:
            await asyncio.wait(signs, timeout=_START, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()
        if not self._heard.is_set():
            how = "ended at once" if process.ended.done() else f"did not come up within {_START:g} s"
            await process.kill()  # its log comes with its end
            words = self.last_words() or server.last_words
            raise KernelError(f"A kernel could not be started: it {how}. {words}".rstrip())

    def _remove_files(self) -> None:
        sockets = (Path(f"{self._base}-1"), Path(f"{self._base}-2"))
        for path in (self._base, self._words, *sockets):
            with contextlib.suppress(OSError):  # a cell put a folder in its place; it goes with the runtime folder
                files.remove(path)
        files.remove_tree(f"{self._base}.d")


def how_it_ended(status: int | None) -> str:
    """The status of a process as of waitpid, in words that say what may have been the reason."""
    if status is None:
        return "it was killed together with the process that starts kernels"
    if not os.WIFSIGNALED(status):
        return f"its process exited with code {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    return _SIGNALS.get(number) or f"it was killed by signal {number}"


_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "it was killed by SIGKILL, as the system does when memory runs out",
    signal.SIGSEGV: "it crashed with SIGSEGV, an invalid memory access",
    signal.SIGABRT: "it aborted with SIGABRT",
    signal.SIGTERM: "it was ended by SIGTERM",
}


def _texts(values: list[Any], most: int = 200) -> tuple[str, ...]:
    """Of each text at most so many characters."""
    return tuple(value[:most] for value in values if isinstance(value, str))
