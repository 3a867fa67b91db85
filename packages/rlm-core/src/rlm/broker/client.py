"""The cell's end: ask the host for a sub-agent. Works from any thread and any event loop."""

from __future__ import annotations

import asyncio

from rlm.broker.wire import LINE, Request, parse_answer
from rlm.errors import AgentError
from rlm.result import RunResult


async def ask(path: str, request: Request) -> RunResult:
    """Send the request and wait. Cancelling this closes the connection, and that cancels the child.

    Raises:
        AgentError: the child failed or was refused, or the host is gone.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE)
    except OSError as error:
        raise AgentError(f"the host of this kernel does not answer: {error}") from error
    try:
        writer.write(request.line())
        await writer.drain()
        return parse_answer(await reader.readline())
    except OSError as error:
        raise AgentError(f"the host of this kernel has gone: {error}") from error
    finally:
        writer.close()
