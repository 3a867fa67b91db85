"""Publish all output and messages of a kernel in their order of creation.

One sequence contains Python's prints to stdout and stderr, what C code and child processes write to descriptors 1
and 2, and ipykernel's messages (a cell begins, displays something, ends). A thread publishes the sequence. A cell that
prints faster than the host reads has to wait, so no output is lost and the sequence stays short.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import threading
import time
from contextvars import ContextVar
from itertools import groupby
from operator import itemgetter
from typing import Any

from rlm.inside.emergencies import CrashBuffer
from rlm.process import files

PIECE = 65_536
"""Maximum characters of one message."""
_FULL = 4 * PIECE  # characters in the sequence above which a print waits
_LARGEST = 128 << 20  # maximum bytes of a message; at twice as much the host closes the connection
_MESSAGE = "message"
_PAUSE = 0.05  # seconds between two messages, unless the output is flushed


class OutputMultiplexer:
    """Collect output in one sequence. Any thread may call `write`.

    `publisher` is ipykernel's IOPubThread; its socket is used only in that thread. ipykernel uses this object as the
    iopub socket: it has `send_multipart`.
    """

    def __init__(self, session: Any, publisher: Any, crash: CrashBuffer) -> None:
        self._parent: dict[str, Any] = {}
        self._parent_here: ContextVar[dict[str, Any] | None] = ContextVar("parent", default=None)
        self.pid = os.getpid()
        self._session = session
        self._publisher = publisher
        self._crash = crash
        self._lock = threading.RLock()
        # the name of a stream, its text and the request that printed it; or _MESSAGE and the message's frames
        self._pieces: list[tuple[str, Any, Any]] = []
        self._length = 0
        self._last = "\n"
        self._scheduled = False
        self._published = 0.0
        self._pipe = _StreamPipe()
        threading.Thread(target=self._watch, name="descriptors", daemon=True).start()

    def set_parent(self, header: dict[str, Any]) -> None:
        """Set the request that prints from now on: in this context, in tasks started here, and where none is set."""
        self._parent = header
        self._parent_here.set(header)

    def write(self, stream: str, text: str) -> None:
        for start in range(0, len(text), PIECE):
            self._add(stream, text[start : start + PIECE])

    def send_multipart(self, frames: list[Any], *_: object, **__: object) -> None:
        """Publish a message."""
        size = sum(map(len, frames))
        if size > _LARGEST:
            self.fresh_line()
            self.write("stderr", f"[not shown: {size:,} bytes are too many for a display; write them to a file]\n")
            return
        with self._lock:
            self._catch_up()
            self._pieces.append((_MESSAGE, frames, None))
            self._length += size
        if self._length >= _FULL:
            self.flush()
        else:
            self._publisher.schedule(self._publish)

    def _add(self, stream: str, text: str) -> None:
        """Add a text to the sequence. Optimised for speed, because every print calls it."""
        with self._lock:
            if self._pipe.now.poll(0):
                self._catch_up()
            self._put(stream, text)
        # A line after a pause is published at once: somebody may be watching.
        if self._length >= _FULL or ("\n" in text and time.monotonic() - self._published > _PAUSE):
            self.flush()
        elif not self._scheduled:
            self._schedule()

    def flush(self) -> None:
        """Publish everything. Return when zmq has it."""
        self._catch_up()
        if threading.current_thread() is self._publisher.thread:
            self._publish()
        elif self._length:
            sent = threading.Event()
            self._publisher.schedule(self._publish)
            self._publisher.schedule(sent.set)
            sent.wait()

    def fresh_line(self) -> None:
        """End the current line, so that the next output begins a new line."""
        self._catch_up()
        if not self._last.endswith("\n"):
            self.write("stdout", "\n")

    def fix(self) -> None:
        """Reconnect the descriptors 1 and 2: a cell may have closed or redirected them."""
        self._pipe.connect()

    def _catch_up(self) -> None:
        """Add the text that was written to the descriptors so far, before any later text."""
        with self._lock:
            while self._length < _FULL and (text := self._pipe.read()):
                self._put("stdout", text)

    def _put(self, stream: str, text: str) -> None:
        self._pieces.append((stream, text, self._parent_here.get() or self._parent))
        self._crash.add(text)
        self._length += len(text)
        self._last = text

    def _watch(self) -> None:
        """Read the pipe in a thread, so that it does not fill up while the main thread is busy."""
        while True:
            self._pipe.wait()
            self._catch_up()
            if self._length >= _FULL:
                self.flush()
            elif not self._scheduled:
                self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        self._publisher.schedule(lambda: self._publisher.io_loop.call_later(_PAUSE, self._publish))

    def _publish(self) -> None:
        """Send the sequence. Runs in the publisher's thread."""
        self._scheduled = False
        with self._lock:
            pieces, self._pieces, self._length = self._pieces, [], 0
        for (kind, parent), run in groupby(pieces, itemgetter(0, 2)):
            if kind == _MESSAGE:
                for _, frames, _ in run:
                    self._publisher.socket.send_multipart(frames)
            else:
                self._published = time.monotonic()
                content = {"name": kind, "text": "".join(text for _, text, _ in run)}
                topic = b"stream." + kind.encode()
                self._session.send(self._publisher.socket, "stream", content, parent=parent, ident=topic)


class _StreamPipe:
    """A pipe that receives what is written to descriptors 1 and 2."""

    def __init__(self) -> None:
        self._end, self._begin = os.pipe()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._identity = os.fstat(self._begin)
        # one for each of the two threads: a poll object serves one thread at a time
        self.now, self._later = select.poll(), select.poll()
        for poll in (self.now, self._later):
            poll.register(self._end, select.POLLIN)
        self.connect()

    def connect(self) -> None:
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(descriptor), self._identity):
                    continue
            os.dup2(self._begin, descriptor)

    def read(self) -> str:
        """Return the available text, at most 64 KiB, or an empty text. The multiplexer's lock must be held."""
        return self._decoder.decode(os.read(self._end, PIECE)) if self.now.poll(0) else ""

    def wait(self) -> None:
        self._later.poll()


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a kernel."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, name: str, descriptor: int, multiplexer: OutputMultiplexer) -> None:
        self.name = name
        self._descriptor = descriptor
        self._multiplexer = multiplexer
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if os.getpid() == self._multiplexer.pid:
            self._multiplexer.write(self.name, text)
        else:
            files.write_all(self._descriptor, text.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        if os.getpid() == self._multiplexer.pid:
            self._multiplexer.flush()

    def close(self) -> None:
        """Only flush: a cell that closes its stdout must not silence the next cell."""
        self.flush()

    def reconfigure(self, **_: Any) -> None:
        """Do nothing: scripts ask for line buffering or an encoding, and neither can be improved here."""

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def set_parent(self, parent: dict[str, Any]) -> None:
        """Set the request that prints from now on. ipykernel calls this."""
        self._multiplexer.set_parent(parent.get("header", parent))


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer` of a kernel."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, data: Any, /) -> int:
        raw = bytes(data)
        self._stream.write(raw.decode(errors="replace"))
        return len(raw)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self.flush()

    def writable(self) -> bool:
        return True
