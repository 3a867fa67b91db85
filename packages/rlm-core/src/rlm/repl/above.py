"""Prints above the prompt while the user types and pastes.

For each print, and when the size changes, prompt_toolkit restores the terminal's normal mode, as it does for an editor
(`in_terminal` in its run_in_terminal.py, `Renderer.reset`): in that mode the terminal echoes keys, truncates lines at
4,095 bytes, and does not mark pastes. Each line of a paste that arrives then would become a separate input. So the
terminal stays in the mode of the prompt until it is lent to a program.
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
"""Seconds for which prints are collected, so that a cell that prints without end leaves time for the keys."""

_lent = ContextVar("_lent", default=False)
"""Whether a program has the terminal. A context variable: other asyncio tasks are not affected."""


@contextmanager
def lent() -> Iterator[None]:
    """Lend the terminal: code and tasks that start in this block may restore its normal mode."""
    before = _lent.set(True)
    try:
        yield
    finally:
        _lent.reset(before)


class KeyInput(Vt100Input):
    """The key input of a terminal, which leaves normal mode off unless the terminal is lent."""

    def cooked_mode(self) -> AbstractContextManager[None]:
        return super().cooked_mode() if _lent.get() else nullcontext()


class PromptOutput(Vt100_Output):
    """A terminal with bracketed paste. Writes to a closed terminal are ignored; its signal ends the prompt."""

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()

    def disable_bracketed_paste(self) -> None:
        if _lent.get():
            super().disable_bracketed_paste()


def key_input() -> KeyInput:
    return KeyInput(sys.stdin)


def prompt_output() -> Vt100_Output:
    """Create the output, as `prompt_toolkit.output.create_output` does for a terminal."""
    return PromptOutput.from_pty(
        sys.stdout,  # noqa: TID251 - the text comes from a canvas or a recap, which clean it
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
        """Print a text, including escape sequences, as soon as possible."""
        self._texts.append(text)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._print())

    async def settle(self) -> None:
        """Wait until everything is printed."""
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
