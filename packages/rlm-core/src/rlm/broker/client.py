"""The cell's end: ask the host for a sub-agent. Works from any thread and any event loop."""

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
    """Have a sub-agent run, and wait. Cancelling this cancels it.

    Raises:
        AgentError: it failed or was refused, or the host is gone.
    """
    return parse_answer(await _exchange(path, request))


async def ask_model(path: str, request: LlmRequest) -> str:
    """Have a model asked, and wait. Cancelling this gives the request up.

    Raises:
        AgentError: it failed or was refused, or the host is gone.
    """
    return str(accepted(await _exchange(path, request))["text"])


async def call_tool(
    path: str, request: CallRequest, on_progress: Callable[[float, float | None, str], None]
) -> dict[str, Any]:
    """Have a tool of an MCP server called, and wait. Cancelling this cancels it.

    Raises:
        AgentError: it failed or was refused, or the host is gone.
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
        with contextlib.suppress(ConnectionError):  # it was refused before all of it was there: the answer says why
            await writer.drain()
        while (progress := parse_progress(answer := await reader.readline())) is not None:
            on_progress(*progress)
        return answer
    except OSError as error:
        raise AgentError(f"the host of this kernel has gone: {error}") from error
    except asyncio.CancelledError:
        writer.write(CancelRequest().line())
        raise
    finally:
        writer.close()


def exchange(path: str, request: AnswerRequest | BudgetRequest | ToolsRequest) -> bytes:
    """Send the request and wait for the line that answers it; without an event loop, as a cell may have none.

    Raises:
        AgentError: the host is gone.
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
    """Wait while too many wait already: connect(2) says EAGAIN then, which asyncio would take for a connection."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.settimeout(0)
    try:
        while not _connected(end, path):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        return await asyncio.open_unix_connection(sock=end, limit=ANSWER)
    except BaseException:
        end.close()
        raise


def _connected(end: socket.socket, path: str) -> bool:
    try:
        end.connect(path)
    except BlockingIOError:
        return False
    return True
