"""One MCP server of a run: connected in the background, shared by all agents, and reconnected when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rlm.errors import McpError, RlmError
from rlm.mcp import package
from rlm.mcp.names import tool_names
from rlm.mcp.package import HttpAccess, McpSession, OnProgress, Transport, Wire
from rlm.mcp.stdio import ServerProcess

START = 60.0
"""Seconds until a server must have listed its tools; some servers install themselves first."""
RETRY_AFTER = 10.0
"""Seconds after a failed attempt before a cell's request starts another one."""
_TOOLS, _PAGES = 10_000, 200
_REASON_WAIT = 2.0  # seconds to wait for the reason of a closed connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """How a server is reached: as our child process, or by a URL."""

    transport: Transport
    process: ServerProcess | None = None
    http: HttpAccess | None = None


OpenAccess = Callable[[AsyncExitStack], Awaitable[ServerAccess]]
"""Starts a program, or prepares a URL; the stack closes it."""


@dataclass(frozen=True, slots=True)
class ServerTools:
    """The data of a server for a kernel: `tools` are as the server lists them, each with its `python_name`."""

    instructions: str = ""
    tools: tuple[Wire, ...] = ()


@dataclass(slots=True)
class _Connection:
    """One connection, from the first attempt to its end."""

    ready: asyncio.Future[McpSession]
    began: float = field(default_factory=time.monotonic)
    listed: ServerTools = field(default_factory=ServerTools)
    stale: bool = False
    """Whether the server has reported that its tools changed."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    access: ServerAccess | None = None


class McpClient:
    """Owns the connection to one server. `report` gets each message for the user once, as one line."""

    def __init__(
        self,
        name: str,
        open_access: OpenAccess,
        needed: asyncio.Event,
        report: Callable[[str], None],
        start: float = START,
    ) -> None:
        """`needed`: until it is set, a program is started, but gets no message.

        `start`: seconds until it must be ready.
        """
        self._needed = needed
        self.name = name
        self._open_access = open_access
        self._report = report
        self._start = start
        self._warned: set[str] = set()
        self._connection: _Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self) -> _Connection:
        """Start to connect."""
        self._connection = connection = _Connection(asyncio.get_running_loop().create_future())
        connection.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())  # perhaps unawaited
        task = asyncio.create_task(self._run(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return connection

    async def close(self) -> None:
        """End the connection. An attempt to connect is cancelled."""
        if self._connection is not None:
            self._connection.closing.set()
        for task in self._tasks:
            if not (self._connection and self._connection.ready.done()):
                task.cancel()  # it waits for a server that is no longer needed
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tools(self) -> ServerTools:
        """
        Raises:
            McpError: the server cannot be reached.
        """
        connection, session = await self._connected()
        if connection.stale:
            connection.stale = False
            connection.listed = await self._unless_ended(connection, self._list(session))
        return connection.listed

    async def call(self, tool: str, arguments: Wire, on_progress: OnProgress) -> Wire:
        """Call a tool and return its result, in the form of the specification. Cancelling this cancels the tool.

        Raises:
            McpError: the server cannot be reached, has ended, or answered with an error.
        """
        connection, session = await self._connected()
        return await self._unless_ended(connection, session.call(tool, arguments, on_progress))

    async def _connected(self) -> tuple[_Connection, McpSession]:
        connection = self._connection
        if connection is None or (
            connection.ended.is_set()
            # at once if the server was ready before, otherwise not for each call
            and (connection.ready.exception() is None or time.monotonic() - connection.began > RETRY_AFTER)
        ):
            connection = self.connect()
        return connection, await asyncio.shield(connection.ready)

    async def _unless_ended(self, connection: _Connection, work: Coroutine[Any, Any, T]) -> T:
        """
        Raises:
            McpError: the work failed, or the connection ended first.
        """
        task, ended = asyncio.ensure_future(work), asyncio.ensure_future(connection.ended.wait())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise self._error(connection.reason)
            if (error := task.exception()) is not None:
                closed = "connection closed" in str(error).lower()
                await asyncio.wait({ended}, timeout=_REASON_WAIT if closed else 0)
                if ended.done():
                    raise self._error(connection.reason)
            return task.result()
        except (RlmError, asyncio.CancelledError):
            raise
        except Exception as raised:  # noqa: BLE001 - the package raises many types
            raise self._error(self._describe(raised, connection.access)) from None
        finally:
            task.cancel()
            ended.cancel()
            await asyncio.gather(task, ended, return_exceptions=True)

    def _error(self, reason: str) -> McpError:
        return McpError(f"{self.name}: {reason}")

    # ---- from the start of a server to its end

    async def _run(self, connection: _Connection) -> None:
        """Run the connection in its own task: the task that enters the package's contexts must also leave them."""
        try:
            async with AsyncExitStack() as stack:
                access = connection.access = await self._open_access(stack)
                await _first(self._needed, connection.closing)
                async with asyncio.timeout(self._start):
                    session = await self._open_session(stack, access, connection)
                    connection.listed = await self._list(session)
                connection.ready.set_result(session)
                await _first(connection.closing, *([access.process.ended] if access.process else []))
                if access.process is not None and not connection.closing.is_set():
                    connection.reason = await access.process.end_reason()
        except TimeoutError:
            connection.reason = f"it was not ready after {self._start:g} s"
        except RlmError as error:
            connection.reason = str(error)
        except Exception as error:  # noqa: BLE001 - groups of any exceptions; the run continues
            process = connection.access.process if connection.access else None
            if process is not None and process.ended.is_set():
                connection.reason = await process.end_reason()
            else:
                connection.reason = self._describe(error, connection.access)
        finally:
            self._end(connection)

    async def _open_session(self, stack: AsyncExitStack, access: ServerAccess, connection: _Connection) -> McpSession:
        await package.load()

        def on_change() -> None:
            connection.stale = True

        return await stack.enter_async_context(package.open_session(access.transport, on_change))

    async def _list(self, session: McpSession) -> ServerTools:
        """Read all pages of tools, up to a limit: a server may return pages without end."""
        tools: list[Wire] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            page, cursor = await session.tools(cursor)
            tools += page
            if cursor is None or len(tools) >= _TOOLS:
                break
        if len(tools) >= _TOOLS or cursor is not None:
            self._warn(f"it lists more than {len(tools):,} tools; rlm ignores the others")
        return ServerTools(session.instructions, tuple(self._named(tools[:_TOOLS])))

    def _named(self, tools: list[Wire]) -> list[Wire]:
        by_name = {str(tool["name"]): tool for tool in reversed(tools)}
        if len(by_name) < len(tools):
            self._warn("it lists tools twice; rlm uses the first of each name")
        named = list(tool_names(str(tool["name"]) for tool in tools))
        plain = dict(each for tool in by_name for each in tool_names([tool]))
        if renamed := [f"{tool} is `{name}`" for tool, name in named if plain[tool] != name]:
            self._warn(f"functions of its tools had the same name and were renamed: {', '.join(renamed[:5])}")
        return [by_name[tool] | {"python_name": name} for tool, name in named]

    def _describe(self, error: BaseException, access: ServerAccess | None) -> str:
        if package.cause_of(error, (McpError,)):
            return package.reason_of(error)
        status = access.http.status if access is not None and access.http is not None else None
        if status == 401:
            return f"it requires a login (HTTP 401): `rlm mcp login {self.name}` logs in"
        if status is not None:
            return f"it answers with HTTP {status}"
        reason = package.reason_of(error)
        return f"no connection with {access.http.host}: {reason}" if access is not None and access.http else reason

    def _end(self, connection: _Connection) -> None:
        was_ready = connection.ready.done()
        if not was_ready:
            connection.ready.set_exception(self._error(connection.reason or "it was closed"))
        connection.ended.set()
        if connection.reason and not connection.closing.is_set():
            self._warn(f"{connection.reason}{'. The next call connects again' if was_ready else ''}")

    def _warn(self, problem: str) -> None:
        if problem not in self._warned:
            self._warned.add(problem)
            self._report(f"MCP server {self.name}: {problem.rstrip(' .')}.")


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
