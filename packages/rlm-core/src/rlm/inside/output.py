"""Everything that a kernel publishes, in the order in which it came about.

Python's prints, to stdout or stderr, what C code and child processes write to descriptors 1 and 2, and ipykernel's own
messages (a cell begins, shows something, ends) go into one sequence. A thread publishes it. A cell that prints faster
than the host reads has to wait, so nothing is lost and nothing piles up.
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
"""Characters of one message at most."""
_FULL = 4 * PIECE  # characters in the sequence at which the printer waits
_LARGEST = 128 << 20  # bytes of a message; twice as much, and the host hangs up
_MESSAGE = "message"
_PAUSE = 0.05  # seconds between two messages, unless someone flushes


class OutputMultiplexer:
    """`write` from any thread. `publisher` is ipykernel's IOPubThread, whose socket it uses in that thread.

    To ipykernel it is the iopub socket: it has `send_multipart`.
    """

    def __init__(self, session: Any, publisher: Any, crash: CrashBuffer) -> None:
        self._parent: dict[str, Any] = {}
        self._parent_here: ContextVar[dict[str, Any] | None] = ContextVar("parent", default=None)
        self.pid = os.getpid()
        self._session = session
        self._publisher = publisher
        self._crash = crash
        self._lock = threading.RLock()
        # a stream, its text and the request that prints it; or _MESSAGE and the frames of one
        self._pieces: list[tuple[str, Any, Any]] = []
        self._length = 0
        self._last = "\n"
        self._scheduled = False
        self._published = 0.0
        self._pipe = _StreamPipe()
        threading.Thread(target=self._watch, name="descriptors", daemon=True).start()

    def set_parent(self, header: dict[str, Any]) -> None:
        """The request that prints from now on: here, in what begins here, and where none has been set."""
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
        """Called for every little print, so it is written for speed."""
        with self._lock:
            if self._pipe.now.poll(0):
                self._catch_up()
            self._put(stream, text)
        # A line after a silence goes out at once: somebody may be watching.
        if self._length >= _FULL or ("\n" in text and time.monotonic() - self._published > _PAUSE):
            self.flush()
        elif not self._scheduled:
            self._schedule()

    def flush(self) -> None:
        """Returns when everything is on its way to the host."""
        self._catch_up()
        if threading.current_thread() is self._publisher.thread:
            self._publish()
        elif self._length:
            sent = threading.Event()
            self._publisher.schedule(self._publish)
            self._publisher.schedule(sent.set)
            sent.wait()

    def fresh_line(self) -> None:
        """What is printed next begins a line."""
        self._catch_up()
        if not self._last.endswith("\n"):
            self.write("stdout", "\n")

    def fix(self) -> None:
        """A cell may have closed or redirected the descriptors."""
        self._pipe.connect()

    def _catch_up(self) -> None:
        """What was written to the descriptors so far comes before what is written next."""
        with self._lock:
            while self._length < _FULL and (text := self._pipe.read()):
                self._put("stdout", text)

    def _put(self, stream: str, text: str) -> None:
        self._pieces.append((stream, text, self._parent_here.get() or self._parent))
        self._crash.add(text)
        self._length += len(text)
        self._last = text

    def _watch(self) -> None:
        """Keep the pipe from filling up while the main thread is elsewhere."""
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
        """In the publisher's thread."""
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
    """Descriptors 1 and 2, led into a pipe that we read."""

    def __init__(self) -> None:
        self._end, self._begin = os.pipe()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._identity = os.fstat(self._begin)
        # one for each of the two threads that ask: a poll object serves one at a time
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
        """What is there, at most 64 KiB; empty if there is nothing. Under the lock of the multiplexer."""
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
        """A cell that closes its stdout shall not silence the next one."""
        self.flush()

    def reconfigure(self, **_: Any) -> None:
        """Scripts ask for line buffering or an encoding; both are as good as they get."""

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def set_parent(self, parent: dict[str, Any]) -> None:
        """The request that prints from now on; ipykernel calls it."""
        self._multiplexer.set_parent(parent.get("header", parent))


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`"""

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
