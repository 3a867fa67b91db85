"""Long text on a terminal: through a pager if it does not fit on the screen, as git does."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rlm.cli.streams import put_painted, stdout_is_terminal
from rlm.config.child_env import pager
from rlm.config.settings import Config
from rlm.errors import SessionError
from rlm.text.styled import Canvas

if TYPE_CHECKING:
    import subprocess

_BUFFER = 1 << 16
"""Characters that are written at once."""


@contextmanager
def paged(config: Config) -> Iterator[Canvas]:
    """stdout as a canvas; on a terminal, through the user's pager if the text is longer than the screen."""
    height = shutil.get_terminal_size().lines if stdout_is_terminal() else None
    with suppress(_PagerLeftError), PagedOutput(config, height, whole=True) as output:
        yield output.canvas


class _PagerLeftError(Exception):
    """The user has closed the pager."""


class PagedOutput:
    """Buffers lines and writes them to stdout, or to a pager from the moment when there are `height` of them.

    `whole`: if stdout is no terminal, lines have no maximum width.
    """

    def __init__(self, config: Config, height: int | None = None, *, whole: bool = False) -> None:
        color = config.color.colors(terminal=stdout_is_terminal())
        width = sys.maxsize if whole and not stdout_is_terminal() else shutil.get_terminal_size().columns
        self.canvas = Canvas(self._write, width, color)
        self._height = height
        self._held: list[str] = []
        self._size = 0
        self._pager: _Pager | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None or issubclass(kind, SessionError):  # on a SessionError, show what could be read before it
                self.flush()
        finally:
            if self._pager is not None:
                self._pager.close()

    def _write(self, line: str) -> None:
        self._held.append(line)
        self._size += len(line)
        if self._height is not None and len(self._held) >= self._height:
            self._pager, self._height = _started_pager(), None
        if self._height is None and self._size > _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write the buffered lines."""
        text = "".join(self._held)
        self._held.clear()
        self._size = 0
        if self._pager is not None:
            self._pager.write(text)
        elif text:
            put_painted(text.removesuffix("\n"))


class _Pager:
    """A running pager. While it runs, only the pager handles Ctrl-C."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def write(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode(errors="replace"))
        except BrokenPipeError:
            raise _PagerLeftError from None

    def close(self) -> None:
        """Wait until the user closes the pager."""
        try:
            with suppress(BrokenPipeError):
                self._process.communicate()
        finally:
            signal.signal(signal.SIGINT, self._before)


def _started_pager() -> _Pager | None:
    """Start the user's pager; None if there is none."""
    import subprocess

    try:
        words, environment = pager()
        return _Pager(subprocess.Popen(words, stdin=subprocess.PIPE, env=environment))
    except (OSError, ValueError):  # no such program, or an unclosed quote
        return None
