"""What the session wants of a terminal; and one that can do nothing but print lines (TERM=dumb)."""

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
    """What was sent. `queued`: after the turn that is under way."""

    text: str
    queued: bool = False


class View(Protocol):
    """What stands at the bottom, and what the keys do besides editing."""

    @property
    def number(self) -> int:
        """Of the next cell."""
        ...

    @property
    def working(self) -> bool: ...
    def interrupt(self) -> None: ...
    def unfold(self, number: int) -> None: ...

    def live(self) -> str:
        """What stands above the input and changes: lines with escape sequences, or nothing."""
        ...

    def toolbar(self) -> str:
        """The line below it."""
        ...


class Terminal(Protocol):
    """Reads what a person enters, and prints. A context manager."""

    python: bool
    """It is a Python prompt."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def read(self) -> Entered | None:
        """The next input; None at its end."""
        ...

    def put(self, text: str) -> None: ...

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        ...

    def ring(self, sequence: str) -> None:
        """Print what a terminal does not show: the bell, or a notification."""
        ...

    async def run_program(self, words: Sequence[str]) -> None:
        """Give the terminal to a program until it ends."""
        ...

    def refresh(self) -> None:
        """What stands at the bottom has changed."""
        ...

    def recall(self, text: str) -> None:
        """Put a text into the input."""
        ...


class DumbTerminal:
    """Lines alone: nothing is drawn again, nothing stands at the bottom, and the terminal itself edits the input."""

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
    """What has been typed so far. What is typed from here on waits as it is, unseen, for whoever reads keys.

    A terminal that nobody has set turns Enter into a new line, and shows what is typed at once.
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
        with suppress(termios.error):  # it has been closed
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, before)
