"""The host's end: one socket for each agent, in its private runtime folder.

A kernel may open connections without end, and say nothing or too much on each. Whoever is over a limit waits in the
socket's own queue, which costs the host nothing, or is refused with a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Protocol

from rlm.broker.protocol import (
    LINE,
    AnswerRequest,
    BudgetRequest,
    CallRequest,
    CancelRequest,
    LlmRequest,
    Request,
    RunRequest,
    ToolsRequest,
    accepted_line,
    budget_line,
    called_line,
    error_line,
    parse_request,
    progress_line,
    result_line,
    text_line,
    too_long,
    tools_line,
)
from rlm.core.budget import Budget, Stop
from rlm.core.task import RunResult
from rlm.errors import AgentError, RlmError
from rlm.process import files

OnProgress = Callable[[float, float | None, str], None]
"""Hears how far a call is, of how much, and what is said of it. It never waits for the cell."""


class CellCalls(Protocol):
    """What the cells of one agent may ask for. Each raises AgentError where it is refused."""

    async def run(self, request: RunRequest) -> RunResult:
        """Run a child of the agent."""
        ...

    async def llm(self, request: LlmRequest) -> str:
        """Ask a model."""
        ...

    def budget(self) -> Budget:
        """What is left of the limits."""
        ...

    async def answer(self, request: AnswerRequest) -> None:
        """Take the answer of the agent."""
        ...

    async def tools(self, request: ToolsRequest) -> tuple[str, Sequence[dict[str, Any]]]:
        """What an MCP server says of itself, and its tools."""
        ...

    async def call(self, request: CallRequest, on_progress: OnProgress) -> dict[str, Any]:
        """Call a tool of an MCP server."""
        ...


AGENT_READING = 8
"""Connections of one agent that are read at once."""
AGENT_CALLS = 2_048
"""Calls of one agent that run at once; more wait."""
HOST_READING = 256
"""Connections that are read at once in all of the host."""
HOST_LONG = 4
"""Requests above `SHORT` that are read at once in all of the host."""
HOST_CALLS = 4_096
"""Calls that run at once in all of the host; more are refused, for to wait could be to wait for oneself."""

SHORT = 64 << 10
"""Bytes of a request that are read before it has to wait for one of the few places for long ones."""
DEADLINE = 10.0
"""Seconds from the connection to the whole request, not counting time spent waiting for a place."""
PAUSE = 0.01
"""Seconds that a connection which came to nothing keeps its place: a flood of them is slow."""

_SHARE = 4  # of the descriptors that the system allows, a quarter is for calls

_BACKLOG = 128
_BLOCK = 64 << 10
_PARTING = 1.0  # seconds
_HEAVY = 1 << 20  # bytes that are not parsed on the event loop
_CANCEL = 1 << 10  # bytes at most of a line that may follow a request


class HostCapacity:
    """One for a host, shared by the brokers of all its agents."""

    def __init__(self) -> None:
        self.reading = asyncio.Semaphore(HOST_READING)
        self.long = asyncio.Semaphore(HOST_LONG)
        self.calls = 0

    @cached_property
    def most_calls(self) -> int:
        """By the limit of open files when it is first asked for: a host raises that limit when it opens."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return HOST_CALLS if soft == resource.RLIM_INFINITY else min(HOST_CALLS, soft // _SHARE)


class AgentCapacity:
    """One agent's part of it."""

    def __init__(self, host: HostCapacity) -> None:
        self.host = host
        self.reading = asyncio.Semaphore(AGENT_READING)
        self.long = asyncio.Semaphore(1)
        self.calls = asyncio.Semaphore(AGENT_CALLS)


class Broker:
    """Listens for one agent's cells. Leaving it cancels the children that still run."""

    def __init__(self, folder: Path, calls: CellCalls, capacity: HostCapacity | None = None) -> None:
        self._path = folder / "rlm.sock"
        self._token = secrets.token_hex(16)
        self._cell_calls = calls
        self._capacity = AgentCapacity(capacity or HostCapacity())
        self._calls: set[asyncio.Task[None]] = set()
        self._given_up: set[asyncio.Task[None]] = set()
        """Calls that a cell has given up and that are ending: a second cancellation would leave them no time to."""
        self._listener: socket.socket | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """For the kernel's environment: `path:token`."""
        return f"{self._path}:{self._token}"

    async def __aenter__(self) -> Broker:
        self._listener = _listen(self._path)
        self._listening = asyncio.create_task(self._listen(self._listener))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = {*self._calls, *([self._listening] if self._listening else [])}
        for task in tasks - self._given_up:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # also where we are cancelled meanwhile
            if self._listener is not None:
                self._listener.close()
            with contextlib.suppress(OSError):  # a cell may have put a folder in its place
                files.remove(self._path)

    async def _listen(self, listener: socket.socket) -> None:
        """Take no more connections than are read: the others wait where they cost nothing."""
        loop = asyncio.get_running_loop()
        while True:
            await self._capacity.reading.acquire()
            try:
                connection, _ = await loop.sock_accept(listener)  # it is non-blocking
            except OSError:  # no descriptor is left, or no memory: there will be
                self._capacity.reading.release()
                await asyncio.sleep(1)
                continue
            call = asyncio.create_task(self._answer(connection))
            self._calls.add(call)
            call.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: socket.socket, call: asyncio.Task[None]) -> None:
        """Here, for a task that is cancelled before it begins closes nothing itself."""
        connection.close()
        self._calls.discard(call)
        self._given_up.discard(call)

    async def _answer(self, connection: socket.socket) -> None:
        """The cell may have gone, or we close: then nobody wants the answer."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            async with self._place() as place:
                await loop.sock_sendall(connection, await self._line_for(connection, place))
                if place.unread:
                    await _discard(connection)

    def _give_up(self) -> None:
        self._given_up |= self._calls & {asyncio.current_task()}

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[_Place]:
        """The place among the connections that are read. `_listen` has taken it."""
        place = _Place(self._capacity.reading)
        try:
            yield place
        finally:
            if not place.left:  # it came to nothing
                await asyncio.sleep(PAUSE)
                place.leave()

    async def _line_for(self, connection: socket.socket, place: _Place) -> bytes:
        """What to answer, whatever was asked."""
        try:
            request, rest = await self._request(connection)
            place.unread = False
            if isinstance(request, CancelRequest):
                raise AgentError("`cancel` ends the run of its own connection, and this one has none")
            if not secrets.compare_digest(request.token.encode(), self._token.encode()):
                raise AgentError("this token is not this agent's")
            async with self._slot():
                place.leave()
                return await _unless_cancelled(connection, rest, self._done(request, connection), self._give_up)
        except AgentError as error:
            return error_line(str(error), error.stop)
        except (RlmError, ValueError) as error:
            return error_line(str(error))
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - a cell that asks must get an answer, and the host lives on
            return error_line(f"the host could not do it: {type(error).__name__}: {error}")

    async def _done(
        self,
        request: RunRequest | AnswerRequest | LlmRequest | BudgetRequest | ToolsRequest | CallRequest,
        connection: socket.socket,
    ) -> bytes:
        match request:
            case RunRequest():
                return result_line(await self._cell_calls.run(request))
            case LlmRequest():
                return text_line(await self._cell_calls.llm(request))
            case BudgetRequest():
                return budget_line(self._cell_calls.budget())
            case AnswerRequest():
                await self._cell_calls.answer(request)
                return accepted_line()
            case ToolsRequest():
                return tools_line(*await self._cell_calls.tools(request))
            case CallRequest():
                async with _ProgressLines(connection) as lines:
                    result = await self._cell_calls.call(request, lines.add)
                return called_line(result)

    async def _request(self, connection: socket.socket) -> tuple[Request, bytes]:
        """The request, and what has come after it.

        Raises:
            AgentError: it is none, too long or too late.
        """
        try:
            async with self._capacity.host.reading:
                line, rest = await _read_line(connection, b"", SHORT)
            if not line.endswith(b"\n"):
                async with self._capacity.long, self._capacity.host.long:
                    line, rest = await _read_line(connection, line, LINE)
                if len(line) >= LINE and not line.endswith(b"\n"):
                    raise AgentError(too_long(len(line)))
        except TimeoutError:
            raise AgentError(f"the request was not complete after {DEADLINE:g} s") from None
        request = parse_request(line) if len(line) < _HEAVY else await asyncio.to_thread(parse_request, line)
        return request, rest

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of the calls that run at once.

        Raises:
            AgentError: all of the host's are taken.
        """
        host = self._capacity.host
        async with self._capacity.calls:
            if host.calls >= host.most_calls:
                raise AgentError(f"{host.calls:,} calls run at once, and the host takes no more: ask for fewer at once")
            host.calls += 1
            try:
                yield
            finally:
                host.calls -= 1


class _Place:
    """Among the connections that are read; left when the request is there."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self.left = False
        self.unread = True
        """The other end may still be sending."""

    def leave(self) -> None:
        if not self.left:
            self.left = True
            self._places.release()


class _ProgressLines:
    """Sends how far a call is. Of what comes while a line is being sent, the newest is kept."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._newest: bytes | None = None
        self._changed = asyncio.Event()
        self._ended = False
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _ProgressLines:
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A line that has been begun is sent whole, for the answer follows; if nobody wants that, nothing is."""
        assert self._sending is not None
        self._ended = True
        self._changed.set()
        if isinstance(error, asyncio.CancelledError):
            self._sending.cancel()
        await asyncio.wait({self._sending})

    def add(self, done: float, total: float | None, message: str) -> None:
        self._newest = progress_line(done, total, message)
        self._changed.set()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the cell has gone, which others see
            while not self._ended:
                await self._changed.wait()
                self._changed.clear()
                line, self._newest = self._newest, None
                if line is not None:
                    await loop.sock_sendall(self._connection, line)


def _listen(path: Path) -> socket.socket:
    """
    Raises:
        AgentError: something else is in its place.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.settimeout(0)
        os.close(files.open_folder(path.parent))  # no link leads to it
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                files.remove(path)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AgentError(f"The socket for sub-agents, {path}, cannot be made: {error.strerror or error}.") from None
    return listener


async def _read_line(connection: socket.socket, begun: bytes, most: int) -> tuple[bytes, bytes]:
    """Up to a newline, the end, or `most` bytes; and what came after the newline.

    Raises:
        TimeoutError: it takes too long.
    """
    loop = asyncio.get_running_loop()
    line, rest = bytearray(begun), b""
    async with asyncio.timeout(DEADLINE):
        while len(line) < most:
            block = await loop.sock_recv(connection, min(_BLOCK, most - len(line)))
            head, newline, rest = block.partition(b"\n")
            line += head + newline
            if newline or not block:
                break
    return bytes(line), rest


async def _discard(connection: socket.socket) -> None:
    """Let the other end finish: one that still writes when we close would get an error in place of our answer."""
    loop = asyncio.get_running_loop()
    connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PARTING):
            while await loop.sock_recv(connection, _BLOCK):
                pass


async def _unless_cancelled(
    connection: socket.socket, begun: bytes, work: Awaitable[bytes], on_end: Callable[[], None]
) -> bytes:
    """Do the work, but give it up when the other end says so, or closes. `on_end` is called before that is waited for.

    Raises:
        AgentError: it was cancelled, or something else was said.
        ConnectionError: the other end has closed.
    """
    child = asyncio.ensure_future(work)
    cancel = asyncio.ensure_future(_wait_for_cancel(connection, begun))
    try:
        await asyncio.wait({child, cancel}, return_when=asyncio.FIRST_COMPLETED)
        return child.result() if child.done() else cancel.result()
    finally:
        on_end()
        cancel.cancel()
        child.cancel()
        await asyncio.gather(child, cancel, return_exceptions=True)


async def _wait_for_cancel(connection: socket.socket, begun: bytes) -> NoReturn:
    """Nothing but `cancel` and the end of the connection may follow a request. `begun` has come already."""
    loop = asyncio.get_running_loop()
    line = begun
    while b"\n" not in line and len(line) < _CANCEL:
        block = await loop.sock_recv(connection, _CANCEL)
        if not block:
            raise ConnectionError("the cell gave it up")
        line += block
    if not isinstance(parse_request(line), CancelRequest):
        raise AgentError("only `cancel` may follow on the connection of a run; another request needs another one")
    raise AgentError("the cell cancelled it", Stop.CANCELLED)
