"""zmq sockets on asyncio's loop. Imported late: zmq takes 0.05 s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import zmq

from rlm.errors import KernelError

T = TypeVar("T")

SHELL, IOPUB = zmq.DEALER, zmq.SUB

_WAITING = 100  # messages of at most 64 KiB that zmq may keep for us; then the kernel waits
_RETRY = 5  # milliseconds between attempts to connect: the kernel is still starting
_LARGEST = 256 << 20  # bytes of a message's part; a kernel that sends more is disconnected
_HEAVY = 1 << 20  # bytes that are not read on the event loop
_SHARE = 0.005  # seconds of the event loop for one socket at a time


def new_context() -> zmq.Context[Any]:
    context: zmq.Context[Any] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 65_535)
    return context


class Channel(Generic[T]):
    """One socket to a kernel: `digest` makes sense of what arrives, `hear` gets it, in order.

    `digest` runs in a thread for heavy messages; reading stops meanwhile.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        kind: int,
        endpoint: str,
        digest: Callable[[list[bytes]], T],
        hear: Callable[[T], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._digest, self._hear = digest, hear
        self._heavy: asyncio.Task[None] | None = None
        self._socket = context.socket(kind)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.RCVHWM, _WAITING),
            (zmq.RECONNECT_IVL, _RETRY),
            (zmq.MAXMSGSIZE, _LARGEST),
        ):
            self._socket.setsockopt(option, value)
        if kind == IOPUB:
            self._socket.subscribe(b"")
        self._socket.connect(endpoint)
        self._loop.add_reader(self._socket.FD, self._read)
        self._loop.call_soon(self._read)

    def send(self, parts: list[bytes]) -> None:
        """
        Raises:
            KernelError: nobody is at the other end, and nobody will be.
        """
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again as error:
            raise KernelError("it no longer listens") from error
        # zmq's descriptor tells of changes only (zmq_getsockopt(3), ZMQ_FD), and sending may have swallowed one
        self._loop.call_soon(self._read)

    @property
    def busy(self) -> bool:
        """Something heavy has arrived and is not understood yet."""
        return self._heavy is not None

    def close(self) -> None:
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.FD)
            self._socket.close()
        if self._heavy is not None:
            self._heavy.cancel()

    def _read(self) -> None:
        """All that is there, but not for so long that others starve."""
        end = self._loop.time() + _SHARE
        while not self._socket.closed and self._heavy is None:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if sum(map(len, parts)) > _HEAVY:
                self._heavy = self._loop.create_task(self._read_heavy(parts))
            else:
                self._hear(self._digest(parts))
            if self._loop.time() > end:
                self._loop.call_soon(self._read)
                return

    async def _read_heavy(self, parts: list[bytes]) -> None:
        digested = await asyncio.to_thread(self._digest, parts)
        self._heavy = None
        self._hear(digested)
        self._loop.call_soon(self._read)
