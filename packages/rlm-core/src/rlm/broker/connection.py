"""What the host's end does with one connection of a cell: read a line, tell progress, see that it is given up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from rlm.broker.protocol import CancelRequest, parse_request, progress_line
from rlm.core.budget import Stop
from rlm.errors import AgentError
from rlm.process import files

DEADLINE = 10.0
"""Seconds from the connection to the whole request, not counting time spent waiting for a place."""

_BACKLOG = 128
_BLOCK = 64 << 10
_PARTING = 1.0  # seconds
_CANCEL = 1 << 10  # bytes at most of a line that may follow a request


class ProgressLines:
    """Sends how far a call is. Of what comes while a line is being sent, the newest is kept."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._newest: bytes | None = None
        self._changed = asyncio.Event()
        self._ended = False
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ProgressLines:
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


def listen(path: Path) -> socket.socket:
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


async def read_line(connection: socket.socket, begun: bytes, most: int) -> tuple[bytes, bytes]:
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


async def discard(connection: socket.socket) -> None:
    """Let the other end finish: one that still writes when we close would get an error in place of our answer."""
    loop = asyncio.get_running_loop()
    connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PARTING):
            while await loop.sock_recv(connection, _BLOCK):
                pass


async def unless_cancelled(
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
