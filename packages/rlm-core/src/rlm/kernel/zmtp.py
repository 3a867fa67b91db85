"""ZMTP 3.0, the protocol between ZeroMQ sockets, for the side that connects. https://rfc.zeromq.org/spec/23/

libzmq returns a message only when all its parts have arrived, and a kernel could send parts without end. This module
limits the size of a message, and raises an error for a larger one. It contains no socket.
"""

from __future__ import annotations

from collections import deque

LARGEST = 256 << 20
"""Maximum bytes of a message."""
MOST_PARTS = 1_000
MOST_COMMANDS = 100

DEALER, SUB = b"DEALER", b"SUB"

_MORE, _LONG, _COMMAND = 1, 2, 4  # flags of a frame
_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_GREETING = _SIGNATURE + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)  # version, mechanism, as-server and filler
_SUBSCRIBE_TO_ALL = b"\x01"


class Peer:
    """The other end of a connection.

    `outgoing` holds the bytes to send to it now; `received` holds the parts of each message that has arrived whole.
    """

    def __init__(self, kind: bytes) -> None:
        """`kind` is the type of our socket: DEALER, or SUB, which receives all published messages."""
        self.outgoing = bytearray(_GREETING)
        ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
        # libzmq expects this only after we have read its greeting
        self._later = bytearray(_frame(ready, _COMMAND))
        if kind == SUB:
            self._later += _frame(_SUBSCRIBE_TO_ALL, 0)
        self.received: deque[list[bytes]] = deque()
        self._greeted = False
        self._held = bytearray()
        self._parts: list[bytes] = []  # the parts of an incomplete message
        self._size = 0
        self._commands = 0

    def send(self, parts: list[bytes]) -> None:
        target = self.outgoing if self._greeted else self._later
        for part in parts[:-1]:
            target += _frame(part, _MORE)
        target += _frame(parts[-1], 0)

    def feed(self, data: bytes) -> None:
        """Take bytes that the peer has sent, and add the messages that are complete with them to `received`.

        Raises:
            ConnectionError: the data is not ZMTP, a message is too large, or there are too many commands.
        """
        self._held += data
        if not self._greeted and not self._greet():
            return
        held, start = self._held, 0
        while len(held) >= start + 2:
            flags = held[start]
            begin = start + (9 if flags & _LONG else 2)
            if len(held) < begin:
                break
            size = int.from_bytes(held[start + 1 : begin], "big")
            if self._size + size > LARGEST or len(self._parts) >= MOST_PARTS or self._commands > MOST_COMMANDS:
                raise ConnectionError("a message is too large, or there are too many commands")
            if len(held) < begin + size:
                break
            start = begin + size
            if flags & _COMMAND:
                self._commands += 1  # libzmq sends us only READY
                continue
            self._size += size
            self._parts.append(bytes(memoryview(held)[begin:start]))
            if not flags & _MORE:
                self.received.append(self._parts)
                self._parts, self._size = [], 0
        del held[:start]

    def _greet(self) -> bool:
        """Read the peer's greeting. False: it is not complete."""
        if len(self._held) < len(_GREETING):
            return False
        if self._held[0] != _SIGNATURE[0] or self._held[9] != _SIGNATURE[9] or self._held[10] < 3:
            raise ConnectionError("the peer does not use ZMTP 3")
        del self._held[: len(_GREETING)]
        self._greeted = True
        self.outgoing += self._later
        return True


def _frame(body: bytes, flags: int) -> bytes:
    if len(body) < 256:
        return bytes((flags, len(body))) + body
    return bytes((flags | _LONG,)) + len(body).to_bytes(8, "big") + body
