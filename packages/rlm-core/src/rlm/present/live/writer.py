"""Writes rows to a stream in its own thread, so that a blocked terminal does not block the run.

On a terminal the last lines are a frame that is redrawn in place; permanent lines scroll above it. No terminal mode is
changed except the echo of typed keys (see `Echo`). So a killed run leaves a few lines of text and no broken terminal.
"""

from __future__ import annotations

import os
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from rlm.config.environment import PictureProtocol
from rlm.present.live.pictures import draw
from rlm.present.live.row import Row, fit, measure, paint, wrap
from rlm.process import files

Frame = Callable[[float, int, int], Sequence[Row]]
"""Returns the rows of the frame at a time (`time.monotonic()`), for a width and height."""

PERIOD = 1 / 8
"""Minimum seconds between two paintings of a frame."""
TICK = 1 / 4
"""Seconds after which a frame is redrawn although nothing happened, so that clocks advance."""
FLUSH_TIMEOUT = 1.0
"""Maximum seconds that a caller waits for the stream."""
BACKLOG = 10_000
"""Maximum rows in the queue of a blocked stream; the oldest are dropped."""
WIDTH, HEIGHT = 100, 24
"""Columns and lines that are assumed if the stream has no size."""
WIDEST = 120
"""Maximum columns of a permanent line; longer lines are hard to read."""


class Writer:
    """The only writer to the stream while it is entered."""

    def __init__(
        self,
        stream: TextIO,
        *,
        color: bool,
        live: bool = False,
        width: int | None = None,
        pictures: PictureProtocol | None = None,
    ) -> None:
        """`live`: draw a frame, which needs a terminal. `width` replaces the stream's own width."""
        self._stream = stream
        self._color = color
        self._width = width
        self._live = live
        self._pictures = pictures
        self._frame: Frame = _nothing
        self._shown: list[str] = []  # the rows of the frame on the screen
        self._extent: list[int] = []  # the width in columns of each of these rows
        self._terminal = not stream.closed and stream.isatty()
        self._echo = Echo(_descriptor(stream) if live else None)
        self._broken = False
        self._rows: deque[Row] = deque(maxlen=BACKLOG)
        self._asked = self._painted = 0  # number of changes, and of those that are on the screen
        self._closing = False
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rlm-screen", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._hurry.set()
        self._thread.join(FLUSH_TIMEOUT)
        self._echo.release()

    def say(self, row: Row) -> None:
        """Print a permanent line, above the frame."""
        self._rows.append(row)
        self._touch()

    def show(self, frame: Frame) -> None:
        """Set the frame."""
        if self._live:
            self._frame = frame
            self._touch()

    def _touch(self) -> None:
        with self._changed:
            self._asked += 1
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is on the screen, for at most FLUSH_TIMEOUT seconds."""
        self._hurry.set()
        with self._changed:
            self._asked += 1
            goal = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._painted >= goal, FLUSH_TIMEOUT)

    # ---- in the thread

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or self._asked > self._painted, TICK if self._shown else None
                )
                closing, goal = self._closing, self._asked
            self._paint(_nothing if closing else self._frame)
            with self._changed:
                self._painted = goal
                self._changed.notify_all()
            if self._live and not closing:
                self._hurry.wait(PERIOD)
                self._hurry.clear()

    def _paint(self, frame: Frame) -> None:
        width, height = self._size()
        said = [self._rows.popleft() for _ in range(len(self._rows))]
        lines = [text for row in said for text in self._texts(row, min(width - 1, WIDEST))]
        # A row that fills the last column leaves the cursor between two lines, so one column stays free.
        rows = [fit(row, width - 1, crop=True) for row in frame(time.monotonic(), width - 1, height)]
        shown = [paint(row, color=self._color) for row in rows]
        if shown:
            self._echo.hold()
        if lines or shown != self._shown:
            self._write(self._back(width, wipe=bool(lines) or len(shown) < len(self._shown)) + _joined(lines, shown))
        self._shown, self._extent = shown, [measure(row.spans) for row in rows]

    def _texts(self, row: Row, width: int) -> list[str]:
        if not row.picture:
            return [paint(line, color=self._color) for line in self._laid_out(row, width)]
        return list(filter(None, [draw(row.picture, self._pictures, width)])) if self._pictures else []

    def _laid_out(self, row: Row, width: int) -> list[Row]:
        """Wrap a row. Without a terminal a row stays one line, so that grep finds it."""
        if row.tail or self._width or self._terminal:
            return wrap(row, width)
        row = Row((*row.spans, row.gap, *row.below), most=row.most) if row.below else row
        return [fit(row, width * row.most, crop=True) if row.most else fit(row, width)]

    def _back(self, width: int, *, wipe: bool) -> str:
        """Move to the start of the frame. Its rows may have wrapped since, if the terminal became narrower."""
        if not self._extent:
            return ""
        heights = [max(1, -(-extent // width)) for extent in self._extent]
        above = sum(heights[:-1])
        return "\r" + (f"\x1b[{above}A" if above else "") + ("\x1b[J" if wipe or max(heights) > 1 else "")

    def _size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            width, height = WIDTH + 1, HEIGHT
        return self._width or width or WIDTH, height or HEIGHT

    def _write(self, text: str) -> None:
        """Write to the stream. After an error, nothing more is written."""
        if self._broken:
            return
        try:
            descriptor = _descriptor(self._stream)
            if descriptor is None:
                self._stream.write(text)
            else:
                files.write_all(descriptor, text.encode(self._stream.encoding or "utf-8", "replace"))
        except (OSError, ValueError):
            self._broken = True


def _nothing(_now: float, _width: int, _height: int) -> Sequence[Row]:
    return ()


def _joined(lines: list[str], shown: list[str]) -> str:
    said = "".join(f"{line}\n" for line in lines)
    return said + ("\n".join(f"\x1b[2K{row}" for row in shown) + "\r" if shown else "")


def _descriptor(stream: TextIO) -> int | None:
    """The descriptor for direct writes: a thread that blocks in a buffer would keep the interpreter from ending."""
    try:
        return stream.fileno()
    except OSError:
        return None


_FLAGS = 3  # index of the local modes in the result of tcgetattr


class Echo:
    """Disables the echo of typed keys while the frame is shown, because echoed text would break its rows.

    It acts on the terminal behind the descriptor only if that terminal controls this process, and the process is in its
    foreground. The next reader gets the typed keys. A killed run cannot restore the echo; bash, zsh and fish restore it
    after a signal has ended or stopped a program.
    """

    def __init__(self, terminal: int | None) -> None:
        self._terminal = terminal
        self._held = False

    def hold(self) -> None:
        """Disable the echo, also after another program has enabled it: a shell does so when the run is stopped."""
        self._held = self._set(on=False) or self._held

    def release(self) -> None:
        if self._held:
            self._set(on=True)
            self._held = False

    def _set(self, *, on: bool) -> bool:
        """Set the echo; return whether this changed it."""
        with suppress(OSError, termios.error):
            if self._terminal is None or os.tcgetpgrp(self._terminal) != os.getpgrp():
                return False
            modes = termios.tcgetattr(self._terminal)
            if bool(modes[_FLAGS] & termios.ECHO) == on:
                return False
            modes[_FLAGS] ^= termios.ECHO
            termios.tcsetattr(self._terminal, termios.TCSANOW, modes)
            return True
        return False
