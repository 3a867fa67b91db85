"""One kernel process from start to end. Its states and transitions are in `rlm.kernel.state`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from rlm.errors import KernelError
from rlm.kernel.cell import OutputRouter, Published, RunningCell
from rlm.kernel.death import DISCONNECTED, crash_report, how_it_ended, unsent
from rlm.kernel.launch import KernelFiles, KernelSpec
from rlm.kernel.output import CellOutput
from rlm.kernel.protocol import Message, MessageCodec, Object
from rlm.kernel.server import KernelProcess, KernelServer
from rlm.kernel.state import KernelEvent, KernelState, next_state

if TYPE_CHECKING:
    from rlm.kernel.channels import Channel

_START_TIMEOUT = 60.0  # timeout in seconds for a kernel to start, on a machine that starts fifty at once
_GRACE = 2.0  # grace seconds for a kernel to end after a connection to it was lost
_SILENCE = 5.0  # seconds without a message after which a cell is over: it lacks its reply, or the end of its output
_QUIET = 0.02  # seconds without a message after which all output of a dead kernel has been read
_NAMES = 10_000  # maximum names of variables that are kept


class KernelConnection:
    """A running kernel. `open` creates it; the caller must `close` it."""

    def __init__(
        self,
        process: KernelProcess,
        files: KernelFiles,
        codec: MessageCodec,
        router: OutputRouter,
        on_death: Callable[[KernelConnection], None],
    ) -> None:
        from rlm.kernel.channels import DEALER, SUB, Channel  # lazy: other commands of rlm do not need it

        self.state = KernelState.STARTING
        self.dead = asyncio.Event()
        self.router = router
        self.names: tuple[str, ...] = ()
        """The names of the variables that cells have created."""
        self.cells = 0
        """The number of the newest cell, as IPython counts."""
        self.ending = ""
        """The reason that the kernel gives for its end."""
        self._process = process
        self._files = files
        self._codec = codec
        self._on_death = on_death
        self._arrived = asyncio.Event()  # set by each message on iopub
        self.cell: RunningCell | None = None
        self._asked: dict[str, asyncio.Future[Object]] = {}
        self._killing: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None  # held: the event loop alone does not keep a task
        self._shell: Channel[Message | None] = Channel(
            DEALER, files.shell, codec.read, self._on_reply, self._on_channel_lost
        )
        self._iopub: Channel[Published | None] = Channel(
            SUB, files.iopub, router.digest, self._on_output, self._on_channel_lost
        )
        process.ended.add_done_callback(self._on_exit)

    @classmethod
    async def open(
        cls,
        spec: KernelSpec,
        number: int,
        server: KernelServer,
        new_late: Callable[[], CellOutput],
        on_death: Callable[[KernelConnection], None],
    ) -> KernelConnection:
        """Start a kernel, and return when it can run cells. `on_death` is called if it ends while no cell runs.

        Raises:
            KernelError: it did not start.
        """
        files, key = KernelFiles(spec.run_dir, number), token_hex(16)
        try:
            files.write(spec, key)
            sandbox = await spec.sandbox_handle() if spec.sandbox_handle else ""
            process = await server.launch(spec, files.launch, sandbox)
        except BaseException:
            files.remove()
            raise
        codec = MessageCodec(key)
        connection = cls(process, files, codec, OutputRouter(codec.read, spec.outputs, new_late), on_death)
        try:
            await connection._come_up(server)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _come_up(self, server: KernelServer) -> None:
        """Wait for the kernel's first message. It publishes nothing before we have subscribed."""
        arrived = asyncio.create_task(self._arrived.wait())
        signs: list[asyncio.Future[Any]] = [arrived, self._process.ended]
        try:
            await asyncio.wait(signs, timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrived.cancel()
        if self.state in {KernelState.STARTING, KernelState.DEAD}:
            problem = "ended at once" if self._process.ended.done() else f"sent nothing within {_START_TIMEOUT:g} s"
            await self._process.kill()  # its log arrives when it has ended
            report = crash_report(self._process.log) or server.last_error
            raise KernelError(f"A kernel could not be started: it {problem}. {report}".rstrip())

    async def close(self) -> None:
        """Kill the kernel and all processes that it started, and remove its files."""
        self._note(KernelEvent.CLOSED)
        self._shell.close()
        self._iopub.close()
        try:
            await self._process.kill()
        finally:
            self.router.close()
            self._files.remove()

    def _note(self, event: KernelEvent) -> KernelState:
        self.state = next_state(self.state, event)
        if self.state is KernelState.DEAD:
            self.dead.set()
        return self.state

    # ---- cells

    @contextmanager
    def running(
        self, code: str, output: CellOutput, *, news: str = "", internal: bool = False
    ) -> Iterator[RunningCell]:
        """Send a cell. Its output begins with `news`. Exit the context when the result is complete."""
        content = {
            "code": code,
            "silent": False,
            "store_history": not internal,
            "allow_stdin": False,
            "stop_on_error": False,
        }
        request, parts = self._codec.request("execute_request", content)
        self._note(KernelEvent.CELL_SENT)
        cell = self.cell = RunningCell(request, output, internal=internal)
        self.router.news += news
        self._shell.send(parts)
        try:
            yield cell
        finally:
            self.cell = None
            self.router.end()
            self._note(KernelEvent.CELL_DONE)

    @contextmanager
    def running_beside(self, code: str, output: CellOutput) -> Iterator[RunningCell]:
        """Send a cell of the user while a cell of the agent awaits: see `rlm.inside.concurrent`."""
        request, parts = self._codec.request("user_execute_request", {"code": code})
        cell = self.router.concurrent = RunningCell(request, output)
        self._shell.send(parts)
        try:
            yield cell
        finally:
            self.router.concurrent = None

    @property
    def beside(self) -> RunningCell | None:
        """The user's cell that runs now beside the agent's cell. The first interrupt ends the user's cell."""
        cell = self.router.concurrent
        return cell if cell is not None and cell.begun.done() and not cell.replied.done() else None

    async def request(self, kind: str, content: Object, timeout: float | None) -> Object:
        """Send a request that is not a cell. Return the reply, or an empty object after the timeout.

        While a cell runs, the kernel does not reply.
        """
        request, parts = self._codec.request(kind, content)
        reply: asyncio.Future[Object] = asyncio.get_running_loop().create_future()
        self._asked[request] = reply
        self._shell.send(parts)
        try:
            async with asyncio.timeout(timeout):
                return await reply
        except TimeoutError:
            return {}
        finally:
            del self._asked[request]

    def interrupt(self) -> None:
        if self.state is KernelState.BUSY:
            self._process.interrupt()

    async def kill(self) -> None:
        """Kill the kernel as if it had ended by itself: the cell that runs is reported as ended."""
        await self._process.kill()

    async def sweep(self, cell: RunningCell) -> None:
        """Kill the processes that the cell has started."""
        await self._process.sweep(cell.sent_at - 0.01)  # the start time of a process is exact to 0.01 s

    # ---- messages of the kernel

    def _on_output(self, published: Published | None) -> None:
        self._arrived.set()
        if self.state is KernelState.STARTING:
            self._note(KernelEvent.UP)
        if published is None:
            return
        message = published.message
        if message.kind != "status":
            self.router.route(published)
        elif (cell := self._cell_of(message)) is not None:
            match message.content.get("execution_state"):
                case "busy":
                    self.router.begin(cell)
                case "idle":
                    if cell is self.cell:
                        self.router.end()
                    cell.idle = True
                    self._settle(cell)

    def _on_reply(self, message: Message | None) -> None:
        if message is None:
            return
        asked = self._asked.get(message.parent)
        if asked is not None and not asked.done():
            asked.set_result(message.content)
        cell = self._cell_of(message)
        if cell is None or message.kind != "execute_reply":
            return
        if not cell.replied.done():
            cell.replied.set_result(message)
        ours = message.metadata.get("rlm")
        if isinstance(ours, dict):
            count, names, ending = ours.get("cells"), ours.get("names"), ours.get("ending")
            self.cells = count if type(count) is int else self.cells
            known = names[:_NAMES] if isinstance(names, list) else ()
            self.names = tuple(name[:200] for name in known if isinstance(name, str))
            self.ending = ending[:500] if isinstance(ending, str) else ""
        self._settle(cell)

    def _cell_of(self, message: Message) -> RunningCell | None:
        """Return the cell that a message belongs to. None: it belongs to no cell that runs now."""
        cells = (self.cell, self.router.concurrent)
        return next((cell for cell in cells if cell is not None and cell.request == message.parent), None)

    def _settle(self, cell: RunningCell) -> None:
        """End the cell when its reply and its idle status have arrived, or only one of them and then nothing more."""
        if cell.replied.done() and cell.idle:
            cell.end()
        else:
            self._arrived.clear()
            asyncio.get_running_loop().call_later(_SILENCE, self._end_if_silent, cell)

    def _end_if_silent(self, cell: RunningCell) -> None:
        arrived = self._arrived.is_set() or self._iopub.busy
        lost = self._shell.closed or self._iopub.closed  # the kernel is about to end, or to be killed
        if self.state is KernelState.DEAD or not (arrived or lost):
            cell.end()
        elif not cell.over.done():
            self._settle(cell)

    # ---- the end of the kernel

    def _on_channel_lost(self) -> None:
        """Kill the kernel if it does not end soon: its output could no longer be read."""
        asyncio.get_running_loop().call_later(_GRACE, self._kill_disconnected)

    def _kill_disconnected(self) -> None:
        if self.state.alive:
            self._note(KernelEvent.DISCONNECTED)
            self._killing = asyncio.create_task(self._process.kill())

    def _on_exit(self, _: object) -> None:
        if self._note(KernelEvent.EXITED) is KernelState.ENDING:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """Read the output that a dead kernel printed before it ended."""
        for _ in range(10):
            self._arrived.clear()
            await asyncio.sleep(_QUIET)
            if not self._arrived.is_set() and not self._iopub.busy:
                break
        self.router.add_unsent(unsent(self._files.crash, self.router.received), self.cell)
        self.router.end()
        self._note(KernelEvent.DRAINED)
        if self.cell is None:
            self._on_death(self)
        else:
            self.cell.end()  # the task that waits for the cell reports the kernel's end

    @property
    def why_dead(self) -> str:
        if self._killing is not None:
            return DISCONNECTED
        return how_it_ended(self._process.ended.result() if self._process.ended.done() else None)

    def report(self) -> str:
        """Return the output that no cell has shown, and where the kernel crashed. For a kernel that has ended."""
        return self.router.take_late() + crash_report(self._process.log)
