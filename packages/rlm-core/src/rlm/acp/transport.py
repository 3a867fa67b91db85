"""JSON-RPC messages as lines on two pipes. Implements `acp._transport.Transport`, an interface of the package.

The package's own transport stops at a line that is no JSON object, and does not report a line that is no JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from rlm.core.messages import Wire
from rlm.errors import ConfigError

_LONGEST = 256 * 1024 * 1024
"""Maximum bytes of a line: a prompt may contain pictures."""
_PARSE_ERROR, _INVALID_REQUEST = -32700, -32600


class LineTransport:
    """Owns both pipes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, read: int, write: int) -> LineTransport:
        """
        Raises:
            ConfigError: the descriptors are not pipes, sockets or terminals.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_LONGEST)
        try:
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", 0))
            # the class that asyncio uses for the stdin of a subprocess; there is no public one
            opened = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(write, "wb", 0))
        except ValueError:
            raise ConfigError("rlm acp talks to a client through pipes, and stdin or stdout is a file.") from None
        transport, protocol = opened
        return cls(reader, asyncio.StreamWriter(transport, protocol, None, loop))

    def put(self, message: Wire) -> None:
        """Send a message without waiting for the write. Messages are sent in the order of the calls."""
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def send(self, message: dict[str, Any]) -> None:
        self.put(message)
        await self._writer.drain()

    async def receive(self) -> dict[str, Any] | None:
        """Return the next message; None at the end."""
        while line := await self._line():
            if not line.strip():
                continue
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                await self._refuse(_PARSE_ERROR, "Parse error: the line is not JSON.")
                continue
            if isinstance(message, dict) and isinstance(message.get("method", ""), str):
                return message
            await self._refuse(_INVALID_REQUEST, "Invalid request: the line is not a JSON-RPC message.")
        return None

    async def close(self) -> None:
        self._writer.close()

    async def _line(self) -> bytes:
        try:
            return await self._reader.readline()
        except (ValueError, ConnectionError):  # the line exceeds the limit, or the client has closed the pipe
            return b""

    async def _refuse(self, code: int, message: str) -> None:
        await self.send({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}})
