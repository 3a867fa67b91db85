"""The cell's side of the broker: ask the host for sub-agents and other calls. For any thread and event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from rlm.broker.protocol import (
    ANSWER,
    AnswerRequest,
    BudgetRequest,
    CallRequest,
    CancelRequest,
    LlmRequest,
    RunRequest,
    ToolsRequest,
    accepted,
    parse_answer,
    parse_progress,
)
from rlm.core.task import RunResult
from rlm.errors import AgentError


async def ask(path: str, request: RunRequest) -> RunResult:
    """Run a sub-agent, and wait for its result. Cancelling this cancels the sub-agent.

    Raises:
        AgentError: it failed or was refused, or the host has ended.
    """
    return parse_answer(await _exchange(path, request))


async def ask_model(path: str, request: LlmRequest) -> str:
    """Ask a model, and wait for its reply. Cancelling this cancels the request.

    Raises:
        AgentError: it failed or was refused, or the host has ended.
    """
    return str(accepted(await _exchange(path, request))["text"])


async def call_tool(
    path: str, request: CallRequest, on_progress: Callable[[float, float | None, str], None]
) -> dict[str, Any]:
    """Call a tool of an MCP server, and wait for its result. Cancelling this cancels the call.

    Raises:
        AgentError: it failed or was refused, or the host has ended.
    """
    result: dict[str, Any] = accepted(await _exchange(path, request, on_progress))["result"]
    return result


async def _exchange(
    path: str,
    request: RunRequest | LlmRequest | CallRequest,
    on_progress: Callable[[float, float | None, str], None] = lambda *_: None,
) -> bytes:
    line = request.line()
    try:
        reader, writer = await _connect(path)
    except OSError as error:
        raise AgentError(f"the host of this kernel does not answer: {error}") from error
    try:
        writer.write(line)
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent: the answer gives the reason
            await writer.drain()
        while (progress := parse_progress(answer := await reader.readline())) is not None:
            on_progress(*progress)
        return answer
    except OSError as error:
        raise AgentError(f"the host of this kernel closed the connection: {error}") from error
    except asyncio.CancelledError:
        writer.write(CancelRequest().line())
        raise
    finally:
        writer.close()


def exchange(path: str, request: AnswerRequest | BudgetRequest | ToolsRequest) -> bytes:
    """Send a request and wait for the answer line. It needs no event loop, since a cell may have none.

    Raises:
        AgentError: the host has ended.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
            connection.sendall(request.line())
            with connection.makefile("rb") as reader:
                return reader.readline()
        except OSError as error:
            raise AgentError(f"the host of this kernel does not answer: {error}") from error


async def _connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect. Retry while the queue is full: connect(2) then gives EAGAIN, which asyncio treats as a connection."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.settimeout(0)
    try:
        while True:
            try:
                end.connect(path)
            except BlockingIOError:
                await asyncio.sleep(0.01)
            else:
                return await asyncio.open_unix_connection(sock=end, limit=ANSWER)
    except BaseException:
        end.close()
        raise
