"""The host's end: one socket for each agent, in its private runtime folder."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

from rlm.broker.wire import LINE, Request, error_line, parse_request, result_line
from rlm.errors import AgentError, RlmError
from rlm.result import RunResult

Spawn = Callable[[Request], Awaitable[RunResult]]
"""Runs a child of the agent that the socket belongs to."""


class Broker:
    """Listens for one agent's cells. Leaving it cancels the children that still run."""

    def __init__(self, folder: Path, spawn: Spawn) -> None:
        self._path = folder / "rlm.sock"
        self._token = secrets.token_hex(16)
        self._spawn = spawn
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """For the kernel's environment: `path:token`."""
        return f"{self._path}:{self._token}"

    async def __aenter__(self) -> Broker:
        self._server = await asyncio.start_unix_server(self._answer, self._path, limit=LINE, start_serving=False)
        try:
            await self._server.start_serving()
        except asyncio.CancelledError:
            self._server.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            # The cell has gone, or we close: nobody wants the answer. Not re-raised, for nobody awaits this task, and
            # asyncio prints a traceback for a cancelled handler (seen in Python 3.11).
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                writer.write(await self._call(reader))
                await writer.drain()
        finally:
            self._calls.discard(call)
            writer.close()

    async def _call(self, reader: asyncio.StreamReader) -> bytes:
        try:
            request = parse_request(await reader.readline())
            if not secrets.compare_digest(request.token.encode(), self._token.encode()):
                raise AgentError("this token is not this agent's")
            return result_line(await _unless_closed(reader, self._spawn(request)))
        except AgentError as error:
            return error_line(str(error), error.stop)
        except (RlmError, ValueError) as error:
            return error_line(str(error))


async def _unless_closed(reader: asyncio.StreamReader, work: Awaitable[RunResult]) -> RunResult:
    """Do the work, but give it up when the other end closes."""
    child = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({child, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not child.done():
            raise ConnectionError("the cell gave it up")
        return child.result()
    finally:
        gone.cancel()
        child.cancel()
        await asyncio.gather(child, gone, return_exceptions=True)
