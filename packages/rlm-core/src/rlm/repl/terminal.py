"""The terminal interface that the session needs, and an implementation that only prints lines (TERM=dumb)."""

from __future__ import annotations

import asyncio
import codecs
import os
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

_STDIN = 0
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Entered:
    """A sent input. `queued`: it waits until the current turn has ended."""

    text: str
    queued: bool = False


class View(Protocol):
    """The lines at the bottom, and the actions of the keys besides editing."""

    @property
    def number(self) -> int:
        """The number of the next cell."""
        ...

    @property
    def working(self) -> bool:
        """Whether a turn, a cell or a command is running."""
        ...

    def interrupt(self) -> None:
        """Ctrl-C while the view is working."""
        ...

    def unfold(self, number: int) -> None:
        """Alt and a digit: print the whole of a long output."""
        ...

    def live(self) -> str:
        """The changing lines above the input, with escape sequences; may be empty."""
        ...

    def toolbar(self) -> str:
        """The line below the input."""
        ...


class Terminal(Protocol):
    """Reads the user's input, and prints. A context manager."""

    python: bool
    """Whether the prompt is a Python prompt."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def read(self) -> Entered | None:
        """Return the next input; None at its end."""
        ...

    def put(self, text: str) -> None: ...

    def size(self) -> tuple[int, int]:
        """Return the columns and lines of the terminal."""
        ...

    def ring(self, sequence: str) -> None:
        """Print a sequence that shows no text: the bell, or a notification."""
        ...

    async def run_program(self, words: Sequence[str]) -> None:
        """Run a program in the terminal until it ends."""
        ...

    def refresh(self) -> None:
        """Redraw the lines at the bottom."""
        ...

    def recall(self, text: str) -> None:
        """Put a text into the input."""
        ...


class DumbTerminal:
    """Only prints lines: no redrawing, no lines at the bottom; the terminal itself edits the input."""

    python = False

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lines: asyncio.Queue[Entered | None] = asyncio.Queue()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(_STDIN, self._on_input)
        self.put("> ")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(_STDIN)

    def _on_input(self) -> None:
        try:
            data = os.read(_STDIN, _BLOCK)
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        for line in lines:
            self._lines.put_nowait(Entered(line))
        if not data:
            asyncio.get_running_loop().remove_reader(_STDIN)
            self._lines.put_nowait(None)

    async def read(self) -> Entered | None:
        return await self._lines.get()

    def put(self, text: str) -> None:
        self._write(text)

    def size(self) -> tuple[int, int]:
        return os.get_terminal_size()

    def ring(self, sequence: str) -> None:
        self.put(sequence)

    async def run_program(self, words: Sequence[str]) -> None:
        program = await asyncio.create_subprocess_exec(*words)
        await program.wait()

    def refresh(self) -> None:
        pass

    def recall(self, text: str) -> None:
        if text:
            self.put(f"[not sent: {text}]\n")


@contextmanager
def keys_kept() -> Iterator[str]:
    """Yield the keys typed so far. Keys typed in this block stay unread, without echo, for the next reader.

    In its default mode, a terminal turns Enter into a newline, and echoes keys at once.
    """
    import termios

    before = termios.tcgetattr(_STDIN)
    ours = termios.tcgetattr(_STDIN)
    ours[0] &= ~termios.ICRNL
    ours[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(_STDIN, termios.TCSANOW, ours)
    try:
        waits = bool(select.select([_STDIN], [], [], 0)[0])
        yield os.read(_STDIN, _BLOCK).decode(errors="replace").replace("\n", "\r") if waits else ""
    finally:
        with suppress(termios.error):  # the terminal has been closed
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
