"""The host's side of one connection of a cell: read a request, send progress, notice that the cell cancels."""

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
"""Timeout in seconds for a whole request after the connection, without the time that it waits for its turn."""

_BACKLOG = 128
_BLOCK = 64 << 10
_LAST_READ = 1.0  # seconds
_CANCEL = 1 << 10  # maximum bytes of a line that follows a request


class ProgressLines:
    """Send the progress of a call. While a line is being sent, only the newest further progress is kept."""

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
        """Finish sending the current line, because the answer follows. If the call was cancelled, stop at once."""
        assert self._sending is not None
        self._ended = True
        self._changed.set()
        if isinstance(error, asyncio.CancelledError):
            self._sending.cancel()
        await asyncio.wait({self._sending})

    def add(self, done: float, total: float | None, message: str) -> None:
        """Send this progress: done, total if known, and a message. Never waits."""
        self._newest = progress_line(done, total, message)
        self._changed.set()

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the cell has closed the connection; the reader notices that
            while not self._ended:
                await self._changed.wait()
                self._changed.clear()
                line, self._newest = self._newest, None
                if line is not None:
                    await loop.sock_sendall(self._connection, line)


def listen(path: Path) -> socket.socket:
    """Create the listening socket at `path`.

    Raises:
        AgentError: something else has this path.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.settimeout(0)
        os.close(files.open_folder(path.parent))  # checks that no link leads to the folder
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                files.remove(path)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise AgentError(f"The socket for sub-agents, {path}, cannot be created: {error.strerror or error}.") from None
    return listener


async def read_line(connection: socket.socket, begun: bytes, most: int) -> tuple[bytes, bytes]:
    """Read up to a newline, the end, or `most` bytes. Return the line, and the data after the newline.

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


async def read_to_end(connection: socket.socket) -> None:
    """Read until the cell has finished: if it still writes when we close, it gets an error instead of our answer."""
    loop = asyncio.get_running_loop()
    connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_READ):
            while await loop.sock_recv(connection, _BLOCK):
                pass


async def unless_cancelled(
    connection: socket.socket, begun: bytes, work: Awaitable[bytes], on_end: Callable[[], None]
) -> bytes:
    """Do the work, but cancel it when the cell sends `cancel` or closes the connection.

    `on_end` is called before the wait for the end of the work.

    Raises:
        AgentError: the cell cancelled it, or sent something else.
        ConnectionError: the cell has closed the connection.
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
    """Wait for `cancel` or the end of the connection: nothing else may follow a request. `begun` was read before."""
    loop = asyncio.get_running_loop()
    line = begun
    while b"\n" not in line and len(line) < _CANCEL:
        block = await loop.sock_recv(connection, _CANCEL)
        if not block:
            raise ConnectionError("the cell abandoned it")
        line += block
    if not isinstance(parse_request(line), CancelRequest):
        raise AgentError("only `cancel` may follow on the connection of a run; use another connection for a request")
    raise AgentError("the cell cancelled it", Stop.CANCELLED)
