"""The host's side of the broker: one socket for each agent, in its private runtime folder.

A kernel may open any number of connections, and send nothing or too much on each. Connections above a limit wait in the
socket's own queue, which costs the host nothing, or are refused with one line.
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

from rlm.broker.connection import DEADLINE, ProgressLines, listen, read_line, read_to_end, unless_cancelled
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
"""Gets the progress of a call: done, total, and a message. It never waits for the cell."""


class RequestHandler(Protocol):
    """Handles the requests of one agent's cells. Each method raises AgentError if the request is refused."""

    async def run(self, request: RunRequest) -> RunResult:
        """Run a child of the agent."""
        ...

    async def llm(self, request: LlmRequest) -> str:
        """Ask a model."""
        ...

    def budget(self) -> Budget:
        """Return what is left of the limits."""
        ...

    async def answer(self, request: AnswerRequest) -> None:
        """Take the answer of the agent."""
        ...

    async def tools(self, request: ToolsRequest) -> tuple[str, Sequence[dict[str, Any]]]:
        """Return the instructions and the tools of an MCP server."""
        ...

    async def call(self, request: CallRequest, on_progress: OnProgress) -> dict[str, Any]:
        """Call a tool of an MCP server."""
        ...


AGENT_READING = 8
"""Connections of one agent that are read at the same time."""
AGENT_CALLS = 2_048
"""Calls of one agent that run at the same time; more calls wait."""
HOST_READING = 256
"""Connections of all agents of a host that are read at the same time."""
HOST_LONG = 4
"""Requests above `SHORT`, of all agents of a host, that are read at the same time."""
HOST_CALLS = 4_096
"""Calls of all agents of a host that run at the same time. More are refused: waiting here could deadlock."""

SHORT = 64 << 10
"""Bytes of a request that are read before it must wait for one of the few slots for long requests."""
PAUSE = 0.01
"""Seconds that a connection without a valid request keeps its slot, so that a flood of them is slow."""

_SHARE = 4  # calls may use a quarter of the descriptors that the system allows

_HEAVY = 1 << 20  # bytes of a request above which it is parsed in a thread


class HostCapacity:
    """The capacity of a host, shared by the brokers of all its agents."""

    def __init__(self) -> None:
        self.reading = asyncio.Semaphore(HOST_READING)
        self.long = asyncio.Semaphore(HOST_LONG)
        self.calls = 0

    @cached_property
    def most_calls(self) -> int:
        """The maximum calls, from the limit of open files. Read late: a host raises that limit when it opens."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return HOST_CALLS if soft == resource.RLIM_INFINITY else min(HOST_CALLS, soft // _SHARE)


class Broker:
    """Serve the calls of one agent's cells. The context manager's exit cancels the children that still run."""

    def __init__(self, folder: Path, handler: RequestHandler, capacity: HostCapacity | None = None) -> None:
        self._path = folder / "rlm.sock"
        self._token = secrets.token_hex(16)
        self._handler = handler
        self._host = capacity or HostCapacity()
        self._reading = asyncio.Semaphore(AGENT_READING)
        self._long = asyncio.Semaphore(1)
        self._running = asyncio.Semaphore(AGENT_CALLS)
        self._calls: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        """Calls that a cell has cancelled and that are ending: a second cancellation would skip their cleanup."""
        self._listener: socket.socket | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The address for the kernel's environment: `path:token`."""
        return f"{self._path}:{self._token}"

    async def __aenter__(self) -> Broker:
        self._listener = listen(self._path)
        self._listening = asyncio.create_task(self._listen(self._listener))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = {*self._calls, *([self._listening] if self._listening else [])}
        for task in tasks - self._ending:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # even if this task is cancelled meanwhile
            if self._listener is not None:
                self._listener.close()
            with contextlib.suppress(OSError):  # a cell may have put a folder in its place
                files.remove(self._path)

    async def _listen(self, listener: socket.socket) -> None:
        """Accept no more connections than are read: the others wait in the socket's queue."""
        loop = asyncio.get_running_loop()
        while True:
            await self._reading.acquire()
            try:
                connection, _ = await loop.sock_accept(listener)  # the new socket is non-blocking
            except OSError:  # no descriptor or no memory is left: try again later
                self._reading.release()
                await asyncio.sleep(1)
                continue
            call = asyncio.create_task(self._serve(connection))
            self._calls.add(call)
            call.add_done_callback(partial(self._on_call_done, connection))

    def _on_call_done(self, connection: socket.socket, call: asyncio.Task[None]) -> None:
        """Close the connection. A task that is cancelled before its start cannot do this itself."""
        connection.close()
        self._calls.discard(call)
        self._ending.discard(call)

    async def _serve(self, connection: socket.socket) -> None:
        """Answer one connection. Errors of the socket are ignored: then nobody waits for the answer."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            async with _ReadingSlot(self._reading) as slot:
                await loop.sock_sendall(connection, await self._response(connection, slot))
                if slot.unread:
                    await read_to_end(connection)

    def _mark_as_ending(self) -> None:
        self._ending |= self._calls & {asyncio.current_task()}

    async def _response(self, connection: socket.socket, slot: _ReadingSlot) -> bytes:
        """Read a request, handle it, and return the line that answers it; also for an invalid request."""
        try:
            request, rest = await self._read_request(connection)
            slot.unread = False
            if isinstance(request, CancelRequest):
                raise AgentError("`cancel` without a run on this connection")
            if not secrets.compare_digest(request.token.encode(), self._token.encode()):
                raise AgentError("this token does not belong to this agent")
            async with self._call_slot():
                slot.release()
                return await unless_cancelled(connection, rest, self._handle(request, connection), self._mark_as_ending)
        except AgentError as error:
            return error_line(str(error), error.stop)
        except (RlmError, ValueError) as error:
            return error_line(str(error))
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - the cell must get an answer, and the host must go on
            return error_line(f"the host failed: {type(error).__name__}: {error}")

    async def _handle(
        self,
        request: RunRequest | AnswerRequest | LlmRequest | BudgetRequest | ToolsRequest | CallRequest,
        connection: socket.socket,
    ) -> bytes:
        match request:
            case RunRequest():
                return result_line(await self._handler.run(request))
            case LlmRequest():
                return text_line(await self._handler.llm(request))
            case BudgetRequest():
                return budget_line(self._handler.budget())
            case AnswerRequest():
                await self._handler.answer(request)
                return accepted_line()
            case ToolsRequest():
                return tools_line(*await self._handler.tools(request))
            case CallRequest():
                async with ProgressLines(connection) as lines:
                    result = await self._handler.call(request, lines.add)
                return called_line(result)

    async def _read_request(self, connection: socket.socket) -> tuple[Request, bytes]:
        """Read a request. Return it, and the data after it.

        Raises:
            AgentError: it is not valid, too long or too late.
        """
        try:
            async with self._host.reading:
                line, rest = await read_line(connection, b"", SHORT)
            if not line.endswith(b"\n"):
                async with self._long, self._host.long:
                    line, rest = await read_line(connection, line, LINE)
                if len(line) >= LINE and not line.endswith(b"\n"):
                    raise AgentError(too_long(len(line)))
        except TimeoutError:
            raise AgentError(f"the request was not complete after {DEADLINE:g} s") from None
        request = parse_request(line) if len(line) < _HEAVY else await asyncio.to_thread(parse_request, line)
        return request, rest

    @asynccontextmanager
    async def _call_slot(self) -> AsyncIterator[None]:
        """Count one running call.

        Raises:
            AgentError: the host's maximum is reached.
        """
        host = self._host
        async with self._running:
            if host.calls >= host.most_calls:
                raise AgentError(f"{host.calls:,} calls run at once, the limit of the host: start fewer at once")
            host.calls += 1
            try:
                yield
            finally:
                host.calls -= 1


class _ReadingSlot:
    """The slot of a connection that is read. `Broker._listen` has acquired it. It is released after the request."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._released = False
        self.unread = True
        """True while the cell may still be sending."""

    async def __aenter__(self) -> _ReadingSlot:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._released:  # there was no valid request
            await asyncio.sleep(PAUSE)
            self.release()

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._slots.release()
