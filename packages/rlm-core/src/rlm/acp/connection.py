"""The connection to the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from acp.connection import Connection
from acp.exceptions import RequestError

from rlm.acp.router import Router
from rlm.acp.server import AcpServer
from rlm.acp.transport import LineTransport
from rlm.core.messages import Wire

if TYPE_CHECKING:
    from acp.connection import MethodHandler


class ClientConnection:
    """Implements `rlm.acp.session.Client`."""

    def __init__(self, transport: LineTransport, handler: MethodHandler) -> None:
        self._transport = transport
        self._connection = Connection(handler, transport, listening=False)

    def update(self, session: str, update: Wire) -> None:
        params = {"sessionId": session, "update": update}
        self._transport.put({"jsonrpc": "2.0", "method": "session/update", "params": params})

    async def ask_permission(self, session: str, call: Wire, options: Sequence[Wire]) -> str | None:
        params = {"sessionId": session, "toolCall": call, "options": list(options)}
        try:
            answer = await self._connection.send_request("session/request_permission", params)
        except (RequestError, ConnectionError):
            return None  # the client cannot ask the user, so the call is not allowed
        outcome = answer.get("outcome") if isinstance(answer, dict) else None
        chosen = outcome.get("optionId") if isinstance(outcome, dict) and outcome.get("outcome") == "selected" else None
        return chosen if isinstance(chosen, str) else None

    async def serve(self) -> None:
        """Serve until the client closes the pipe; then cancel the requests that are still running."""
        try:
            await self._connection.main_loop()
        finally:
            await asyncio.shield(self._connection.close())


async def serve(read: int, write: int, flags: Mapping[str, str], log: Callable[[str], None]) -> None:
    """Serve the client at these descriptors until it closes them. `flags`: texts of settings; `log` takes lines.

    Raises:
        ConfigError: a flag or a variable is not allowed, or the descriptors are files.
    """
    server = AcpServer(flags, log)
    router = Router(server)
    async with server:
        client = ClientConnection(await LineTransport.open(read, write), router)
        server.client = client
        await client.serve()
