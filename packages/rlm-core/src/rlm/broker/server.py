"""The host's end: one socket for each agent, in its private runtime folder.

A kernel may open connections without end, and say nothing or too much on each. Whoever is over a limit waits in the
socket's own queue, which costs the host nothing, or is refused with a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from rlm.broker.connection import DEADLINE, ProgressLines, discard, listen, read_line, unless_cancelled
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
    result_line,
    text_line,
    too_long,
    tools_line,
)
from rlm.core.budget import Budget
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
PAUSE = 0.01
"""Seconds that a connection which came to nothing keeps its place: a flood of them is slow."""

_SHARE = 4  # of the descriptors that the system allows, a quarter is for calls

_HEAVY = 1 << 20  # bytes that are not parsed on the event loop


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
        self._listener = listen(self._path)
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
                    await discard(connection)

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
                return await unless_cancelled(connection, rest, self._done(request, connection), self._give_up)
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
                async with ProgressLines(connection) as lines:
                    result = await self._cell_calls.call(request, lines.add)
                return called_line(result)

    async def _request(self, connection: socket.socket) -> tuple[Request, bytes]:
        """The request, and what has come after it.

        Raises:
            AgentError: it is none, too long or too late.
        """
        try:
            async with self._capacity.host.reading:
                line, rest = await read_line(connection, b"", SHORT)
            if not line.endswith(b"\n"):
                async with self._capacity.long, self._capacity.host.long:
                    line, rest = await read_line(connection, line, LINE)
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
