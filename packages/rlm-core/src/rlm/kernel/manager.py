"""One agent's kernel over its whole life: it runs cells, interrupts them, and replaces a kernel that has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, AsyncExitStack, closing
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from rlm.core.events import Displayed, KernelRestarted, OutputReceived
from rlm.core.ports import Execution, Sink
from rlm.errors import KernelError
from rlm.kernel.cell import RunningCell
from rlm.kernel.clock import Clock
from rlm.kernel.concurrent import awaits, run_beside
from rlm.kernel.connection import KernelConnection
from rlm.kernel.launch import KernelSpec
from rlm.kernel.output import CellOutput
from rlm.kernel.render import Completion, completion_of, value_of
from rlm.kernel.server import KernelServer
from rlm.kernel.state import KernelState

_GRACE = (2.0, 3.0)  # grace seconds of a cell after the first and the second interrupt; then its kernel is killed
# the same times when the run is cancelled; the first interrupt may come just before the code runs
_GRACE_CANCELLED = (1.0, 2.0)
_READ_TIMEOUT = 60.0  # seconds to read the output of a cell that has replied; a hostile kernel could send without end
_BEGIN_TIMEOUT = 5.0  # seconds to wait for a cell to begin on a busy machine; then its time limit starts anyway
_REQUEST_TIMEOUT = 2.0  # timeout in seconds of a request that is not a cell
_NO_LIMIT = 1e9  # seconds
_NAMED = 40  # maximum names of lost variables that are listed


class JupyterKernel:
    """The `rlm.core.ports.Kernel` of an agent. It runs one cell at a time.

    The context manager's exit kills the kernel and all processes that it started.
    """

    def __init__(self, spec: KernelSpec, sink: Sink, server: KernelServer | None = None) -> None:
        self._spec = replace(spec, outputs=spec.outputs.absolute())
        self._sink = sink
        self._server = server
        self._stack = AsyncExitStack()
        self._turn = asyncio.Lock()
        self._clock = Clock()
        self._connection: asyncio.Task[KernelConnection] | None = None
        self._discards: set[asyncio.Task[None]] = set()
        self._started = 0
        self._cells = 0
        self._news = ""

    async def __aenter__(self) -> Self:
        if self._server is None:
            self._server = await self._stack.enter_async_context(
                KernelServer(sealed=self._spec.sandbox_handle is not None)
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._stack:
            self._discard_kernel()
            if self._discards:
                await asyncio.wait(self._discards)

    # ---- public methods

    def start(self) -> None:
        """Start a kernel in the background, so that it is ready for the first cell."""
        if self._connection is None:
            self._connection = asyncio.create_task(self._open())

    async def execute(self, code: str, timeout: float, sink: Sink | None = None) -> Execution:
        async with self._turn:
            connection = await self._ready()
            news, self._news = self._news, ""
            self._cells += 1
            with (
                closing(self._new_output(f"cell-{self._cells}", sink or self._sink)) as output,
                connection.running(code, output, news=news) as cell,
            ):
                execution = cell.execution(await self._wait_for_end(connection, cell, timeout))
                for path in output.pictures:
                    self._sink(Displayed(str(path)))
                for rows, columns in output.tables:
                    self._sink(Displayed(rows=rows, columns=columns))
                return execution

    async def execute_for_user(self, code: str, sink: Sink) -> Execution:
        """Run a cell of the user, without a time limit.

        While a cell of the agent awaits something, the user's cell runs beside it.
        """
        while self._turn.locked():
            connection = await self._ready()  # an agent's cell that waits for the kernel too goes first
            if not await awaits(connection):
                break
            self._cells += 1
            new_output = partial(self._new_output, f"cell-{self._cells}", sink)
            with self._clock.held():
                execution = await run_beside(connection, code, new_output)
            if execution is not None:
                return execution
        return await self.execute(code, _NO_LIMIT, sink)

    @property
    def runs_beside(self) -> bool:
        """True while a cell of the user runs beside a cell of the agent."""
        connection = self._up()
        return connection is not None and connection.beside is not None

    async def execute_internal(self, code: str, timeout: float) -> str:
        async with self._turn:
            connection = await self._ready()
            with (
                closing(self._new_output("internal")) as nothing,
                connection.running(code, nothing, internal=True) as cell,
            ):
                return await self._wait_for_end(connection, cell, timeout)

    async def restart(self, why: str) -> None:
        async with self._turn:
            if self._connection is not None:  # else there is no kernel to replace
                self._replace(await self._ready(), why)

    def waiting(self) -> AbstractContextManager[None]:
        return self._clock.held()

    def interrupt(self) -> None:
        """Interrupt the running cell, as Ctrl-C does in a notebook. Its `execute` then returns the result."""
        if (connection := self._up()) is not None:
            connection.interrupt()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the variables that cells have created. Empty while no kernel is up."""
        return connection.names if (connection := self._up()) else ()

    @property
    def cells(self) -> int:
        """The number of the kernel's newest cell, as IPython counts. 0 while no kernel is up."""
        return connection.cells if (connection := self._up()) else 0

    async def complete(self, code: str, cursor: int) -> Completion:
        """Return the completions of the word at `cursor` (in characters). While a cell runs, there are none."""
        connection = self._up()
        if connection is None or connection.state is not KernelState.IDLE:
            return Completion()
        content = {"code": code, "cursor_pos": cursor}
        return completion_of(await connection.request("complete_request", content, _REQUEST_TIMEOUT))

    async def evaluate(self, expression: str) -> str:
        """Return the value of an expression as text, as IPython shows it, or the error.

        It neither runs a cell nor waits for one.

        Raises:
            KernelError: no kernel can be started.
        """
        connection = await self._ready()
        if connection.state is not KernelState.IDLE:
            return "[not read: a cell is running]"
        content = {
            "code": "",
            "silent": True,
            "store_history": False,
            "user_expressions": {"value": expression},
            "allow_stdin": False,
        }
        reply = await connection.request("execute_request", content, _REQUEST_TIMEOUT)
        return value_of(reply) if reply else f"[not read: it takes more than {_REQUEST_TIMEOUT:g} s]"

    def _up(self) -> KernelConnection | None:
        task = self._connection
        return task.result() if task and task.done() and not task.cancelled() and not task.exception() else None

    # ---- the life of the kernel

    async def _open(self) -> KernelConnection:
        try:
            return await self._try_to_open()
        except KernelError:  # something may have killed the kernel; a permanent error occurs again
            return await self._try_to_open()

    async def _try_to_open(self) -> KernelConnection:
        assert self._server is not None, "use it as a context manager"
        self._started += 1
        new_late = partial(self._new_output, f"late-{self._started}")
        on_death = partial(self._on_death, asyncio.current_task())
        return await KernelConnection.open(self._spec, self._started, self._server, new_late, on_death)

    async def _ready(self) -> KernelConnection:
        """Return a kernel that is alive, and start one if necessary.

        Raises:
            KernelError: no kernel can be started.
        """
        while True:
            self.start()
            assert self._connection is not None
            try:
                connection = await asyncio.shield(self._connection)
            except KernelError:
                self._connection = None
                raise
            if connection.state.alive:
                return connection
            await connection.dead.wait()

    def _on_death(self, opening: asyncio.Task[KernelConnection] | None, connection: KernelConnection) -> None:
        """Replace a kernel that ended by itself between two cells; the next result reports it.

        `opening` is the task that opened the kernel.
        """
        if opening is not self._connection:
            return  # it has been replaced already
        report = connection.report()
        fresh = self._replace(connection, connection.why_dead)
        self._news += f"{report}[the kernel died after the last cell: {connection.why_dead}. {fresh}]\n"

    def _replace(self, connection: KernelConnection, why: str) -> str:
        """Start a new kernel in place of this one. Return the sentence that names the lost variables."""
        lost = connection.names
        self._discard_kernel()
        self.start()
        self._sink(KernelRestarted(why, lost))
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        named = f"Lost: {', '.join(lost[:_NAMED])}{more}." if lost else "Nothing was defined."
        return f"A fresh kernel is ready. {named}"

    def _discard_kernel(self) -> None:
        task, self._connection = self._connection, None
        if task is not None:
            discard = asyncio.create_task(_close(task))
            self._discards.add(discard)
            discard.add_done_callback(self._discards.discard)

    # ---- a cell

    def _new_output(self, name: str, sink: Sink | None = None) -> CellOutput:
        """Create the output of a cell. `sink` gets the text as it arrives."""
        listener = (lambda text: sink(OutputReceived(text))) if sink else None
        return CellOutput(self._spec.max_output, self._spec.outputs, name, listener, self._spec.quota)

    async def _wait_for_end(self, connection: KernelConnection, cell: RunningCell, timeout: float) -> str:
        """Wait until the cell is over. Return a note for the model about how it ended, or an empty text."""
        try:
            await cell.wait_until_begun(_BEGIN_TIMEOUT)
            with self._clock.running(timeout) as expired:
                await asyncio.wait({cell.over, expired}, return_when=asyncio.FIRST_COMPLETED)
            timed_out = not cell.over.done()
            if timed_out:
                await _interrupt(connection, cell, _GRACE)
            return self._conclude(connection, cell, f"timed out after {timeout:g} s" if timed_out else "")
        except asyncio.CancelledError:
            try:  # a second cancellation skips the waiting
                await cell.wait_until_begun(_BEGIN_TIMEOUT)
                await _interrupt(connection, cell, _GRACE_CANCELLED)
            finally:
                self._conclude(connection, cell, "cancelled")
            raise

    def _conclude(self, connection: KernelConnection, cell: RunningCell, trouble: str) -> str:
        """Return a note about how the cell ended. Replace its kernel if that has ended too, or ignores interrupts."""
        if not connection.state.alive:
            report = connection.report()
            return f"{report}[the kernel died: {connection.why_dead}. {self._replace(connection, connection.why_dead)}]"
        if not cell.over.done():
            why = f"{trouble} and ignored the interrupt, so the kernel was killed"
            return f"[{why}. {self._replace(connection, why)}]"
        if not cell.replied.done() and not trouble:
            return "[the kernel did not report how the cell ended]"
        if connection.ending:
            return f"[{connection.ending}, so the kernel ended. {self._replace(connection, connection.ending)}]"
        return f"[{trouble}: interrupted; the kernel and its variables are kept]" if trouble else ""


async def _interrupt(connection: KernelConnection, cell: RunningCell, grace_periods: Sequence[float]) -> None:
    """Interrupt a cell until it ends, and kill the processes that it has started.

    A cell that has replied has ended; its output is then read for `_READ_TIMEOUT` seconds at most.
    """
    signs: set[asyncio.Future[Any]] = {cell.over, cell.replied}
    for grace in grace_periods:
        if (beside := connection.beside) is not None:  # the first interrupt ends the user's cell
            connection.interrupt()
            await asyncio.wait({beside.over}, timeout=grace)
        connection.interrupt()
        await asyncio.wait(signs, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if cell.replied.done():
            await asyncio.wait({cell.over}, timeout=_READ_TIMEOUT)
        if cell.over.done():
            await connection.sweep(cell)
            return


async def _close(task: asyncio.Task[KernelConnection]) -> None:
    """End a kernel, or cancel its start."""
    if not task.done():
        task.cancel()
    try:
        connection = await task
    except (KernelError, asyncio.CancelledError):
        return
    await connection.close()
