"""The two sockets of a kernel, on asyncio's loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Generic, TypeVar

from rlm.kernel.zmtp import DEALER, SUB, Peer
from rlm.process import files

__all__ = ["DEALER", "SUB", "Channel"]

T = TypeVar("T")

_NOT_YET = (FileNotFoundError, ConnectionRefusedError, BlockingIOError)
"""The socket is not there yet, does not listen yet, or has no room for one more connection."""
_RETRY, _RETRY_SHARE = 0.005, 8  # seconds between attempts to connect: the kernel is still starting
"""At least, and a share of the time that it has taken: many that start at once must not be asked too often."""
_BLOCK = 1 << 18  # bytes that are read at once; what is not read waits in the kernel
_HEAVY = 1 << 20  # bytes that are not read on the event loop
_SHARE = 0.005  # seconds of the event loop for one socket at a time


class Channel(Generic[T]):
    """One socket to a kernel: `digest` parses what arrives, and `receive` gets it, in order.

    `digest` runs in a thread for heavy messages; reading stops meanwhile. A connection that ends is not made again,
    since something else could have the name of the kernel's socket by then; `lose` is called.
    """

    def __init__(
        self,
        kind: bytes,
        path: str,
        digest: Callable[[list[bytes]], T],
        receive: Callable[[T], None],
        lose: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._digest, self._receive, self._lose = digest, receive, lose
        self._heavy: asyncio.Task[None] | None = None
        self._peer = Peer(kind)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(0)
        self._connected = False
        self.closed = False
        self._began = self._loop.time()
        self._connecting: asyncio.Handle = self._loop.call_soon(self._connect)

    def send(self, parts: list[bytes]) -> None:
        """To a kernel that is gone this does nothing: its end is reported elsewhere."""
        self._peer.send(parts)
        if self._connected and not self.closed:
            self._write()

    @property
    def busy(self) -> bool:
        """Something heavy has arrived and is not understood yet."""
        return self._heavy is not None

    def close(self) -> None:
        self._connecting.cancel()
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        if self._heavy is not None:
            self._heavy.cancel()

    def _end(self) -> None:
        """The connection is lost, or of no use."""
        if not self.closed:
            self.close()
            self._lose()

    def _connect(self) -> None:
        try:
            with ExitStack() as opened:  # what has the name; a link could lead to any socket of the user
                self._socket.connect(files.socket_place(self._path, opened))
        except _NOT_YET:
            pause = max(_RETRY, (self._loop.time() - self._began) / _RETRY_SHARE)
            self._connecting = self._loop.call_later(pause, self._connect)
        except OSError:
            self._end()
        else:
            self._connected = True
            self._loop.add_reader(self._socket, self._read)
            self._write()

    def _write(self) -> None:
        """What can be sent now. The rest follows when there is room."""
        outgoing = self._peer.outgoing
        try:
            del outgoing[: self._socket.send(outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._end()
            return
        if outgoing:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        """All that is there, but not for so long that others starve."""
        end = self._loop.time() + _SHARE
        try:
            while self._loop.time() < end:
                if not self._step():
                    return
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        self._loop.call_soon(self._read)

    def _step(self) -> bool:
        """Pass on a message, or receive something. False: there is nothing to do now.

        Raises:
            OSError: there is no connection; or nothing has come.
        """
        if self.closed or self._heavy is not None:
            return False
        parts = self._peer.message()
        if parts is None:
            if self._peer.outgoing:  # the peer has greeted
                self._write()
            data = self._socket.recv(_BLOCK)
            if not data:
                raise ConnectionError("the kernel hung up")
            self._peer.feed(data)
        elif sum(map(len, parts)) > _HEAVY:
            self._loop.remove_reader(self._socket)
            self._heavy = self._loop.create_task(self._read_heavy(parts))
        else:
            self._receive(self._digest(parts))
        return True

    async def _read_heavy(self, parts: list[bytes]) -> None:
        digested = await asyncio.to_thread(self._digest, parts)
        self._heavy = None
        self._receive(digested)
        if not self.closed:
            self._loop.add_reader(self._socket, self._read)
            self._loop.call_soon(self._read)
