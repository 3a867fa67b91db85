"""The two sockets of a kernel, on the asyncio event loop."""

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
"""The socket does not exist yet, does not listen yet, or its backlog is full."""
_RETRY, _RETRY_SHARE = 0.005, 8
"""The pause between attempts to connect to a starting kernel: minimum seconds, and the divisor of the elapsed time.

The pause grows because many kernels may start at once.
"""
_BLOCK = 1 << 18  # bytes per read; unread bytes wait in the system's buffer and in the kernel
_HEAVY = 1 << 20  # bytes of a message above which it is parsed in a thread
_SHARE = 0.005  # maximum seconds of the event loop that one socket may use at a time


class Channel(Generic[T]):
    """One socket to a kernel. `digest` parses each message, and `receive` gets the results in order.

    `digest` runs in a thread for large messages; reading stops meanwhile. `lose` is called after a lost connection.
    The channel does not reconnect, since another process could use the name of the kernel's socket by then.
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
        """Send a message. If the kernel has ended, do nothing: its end is reported elsewhere."""
        self._peer.send(parts)
        if self._connected and not self.closed:
            self._write()

    @property
    def busy(self) -> bool:
        """True while a large message is being parsed."""
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
        """Close a connection that is lost or has failed."""
        if not self.closed:
            self.close()
            self._lose()

    def _connect(self) -> None:
        try:
            with ExitStack() as opened:  # without following a link: it could lead to any socket of the user
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
        """Send what the socket accepts now. The rest follows when the socket is writable again."""
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
        """Pass on what has arrived, but for `_SHARE` seconds at most, so that other sockets are served."""
        end = self._loop.time() + _SHARE
        try:
            while self._loop.time() < end:
                if self.closed or self._heavy is not None:
                    return
                if not self._peer.received:
                    self._fetch()
                elif sum(map(len, parts := self._peer.received.popleft())) > _HEAVY:
                    self._loop.remove_reader(self._socket)
                    self._heavy = self._loop.create_task(self._read_heavy(parts))
                else:
                    self._receive(self._digest(parts))
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        self._loop.call_soon(self._read)

    def _fetch(self) -> None:
        """Receive data.

        Raises:
            OSError: the connection is lost, or no data is available.
        """
        if self._peer.outgoing:  # the peer's greeting has arrived
            self._write()
        data = self._socket.recv(_BLOCK)
        if not data:
            raise ConnectionError("the kernel closed its connection")
        self._peer.feed(data)

    async def _read_heavy(self, parts: list[bytes]) -> None:
        digested = await asyncio.to_thread(self._digest, parts)
        self._heavy = None
        self._receive(digested)
        if not self.closed:
            self._loop.add_reader(self._socket, self._read)
            self._loop.call_soon(self._read)
