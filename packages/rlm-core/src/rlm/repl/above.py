"""Printing above the prompt, while keys and pastes go on coming in.

For each print, and when the size changes, prompt_toolkit gives the terminal away as it does for an editor
(`in_terminal` in its run_in_terminal.py, `Renderer.reset`): for that moment the terminal echoes the keys itself, cuts
lines off at 4,095 bytes, and puts no marks around a paste. Of a paste that comes in such a moment each line would be an
input of its own. So the terminal stays as the prompt needs it, until it is lent to a program.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar

from prompt_toolkit.application import in_terminal
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.utils import get_bell_environment_variable, get_term_environment_variable

BATCH = 0.05
"""Seconds in which what is printed is put together: a cell that prints without end leaves room for the keys."""

_lent = ContextVar("_lent", default=False)
"""Whether a program has the terminal. What a task of asyncio does while another has lent it is not touched by that."""


@contextmanager
def lent() -> Iterator[None]:
    """What begins within this, tasks too, gives the terminal away whole."""
    before = _lent.set(True)
    try:
        yield
    finally:
        _lent.reset(before)


class KeyInput(Vt100Input):
    """The keys of a terminal, one by one."""

    def cooked_mode(self) -> AbstractContextManager[None]:
        return super().cooked_mode() if _lent.get() else nullcontext()


class PromptOutput(Vt100_Output):
    """A terminal that marks pastes. When it has been closed nothing is written; the signal of that ends the prompt."""

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def disable_bracketed_paste(self) -> None:
        if _lent.get():
            super().disable_bracketed_paste()


def key_input() -> KeyInput:
    return KeyInput(sys.stdin)


def prompt_output() -> Vt100_Output:
    """As `prompt_toolkit.output.create_output` makes it for a terminal."""
    return PromptOutput.from_pty(
        sys.stdout,  # noqa: TID251 - what is printed comes from a canvas or a recap, which are plain
        term=get_term_environment_variable(),
        default_color_depth=ColorDepth.from_env(),
        enable_bell=get_bell_environment_variable(),
    )


class Printer:
    """Prints texts above the prompt, in their order."""

    def __init__(self, output: Vt100_Output) -> None:
        self._output = output
        self._texts: list[str] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, text: str) -> None:
        """Print a text, escape sequences and all, at the next moment."""
        self._texts.append(text)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._print())

    async def settle(self) -> None:
        """Wait until all is printed."""
        if self._task is not None:
            await self._task

    async def _print(self) -> None:
        while self._texts:
            async with in_terminal():
                self._output.enable_autowrap()
                self._output.write_raw("".join(self._texts))
                self._output.flush()
                self._texts.clear()
            await asyncio.sleep(BATCH)
