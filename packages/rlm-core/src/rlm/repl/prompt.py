"""The prompt at the bottom of the terminal: keys, history, completion, and the output above it.

Text that has scrolled is never redrawn: scrollback, selection, tmux and ssh work as in any shell.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.completion import Completer
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText
from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.lexers import DynamicLexer, Lexer
from prompt_toolkit.styles import Style

from rlm.process import files
from rlm.repl.above import Printer, key_input, lent, prompt_output
from rlm.repl.keys import key_bindings
from rlm.repl.terminal import Entered, View

REFRESH = 0.25
"""Seconds between two updates of clocks and spinner."""

_STYLE = Style.from_dict({"bottom-toolbar": "noreverse fg:ansibrightblack", "prompt": "bold fg:ansicyan"})


class Prompt:
    """Owns the input of a terminal, and prints above the prompt. Use it as a context manager."""

    def __init__(self, view: View, completer: Completer, history: Path | None, typed: str = "") -> None:
        """
        Args:
            history: the history file; None keeps no history.
            typed: keys that the user pressed before the prompt owned the terminal.
        """
        self.python = False
        """Whether the prompt is a Python prompt."""
        self._view = view
        self._typed = typed
        self._entered: asyncio.Queue[Entered | None] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self._clock: asyncio.Task[None] | None = None
        output = prompt_output()
        self._printer = Printer(output)
        self._session: PromptSession[str] = PromptSession(
            message=self._message,
            multiline=True,
            prompt_continuation=lambda width, _number, _wrapped: " " * width,
            history=FileHistory(history) if history else InMemoryHistory(),
            completer=completer,
            complete_while_typing=False,
            lexer=DynamicLexer(lambda: _python_lexer() if self.python else None),
            bottom_toolbar=lambda: ANSI(view.toolbar()),
            key_bindings=key_bindings(self, view),
            style=_STYLE,
            erase_when_done=True,
            include_default_pygments_style=False,
            input=key_input(),
            output=output,
        )

    async def __aenter__(self) -> Self:
        """Start one application for all inputs. If one ended during a print, the next would not be drawn."""
        self._running = asyncio.create_task(self._run())
        self._clock = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        assert self._clock is not None
        self._clock.cancel()
        await self._printer.settle()
        if not self._running.done():
            self._session.app.exit(exception=EOFError())
        await asyncio.wait({self._running})

    async def _tick(self) -> None:
        """Update the clocks, if any are shown."""
        while True:
            await asyncio.sleep(REFRESH)
            if self._view.working:
                self.refresh()

    async def _run(self) -> None:
        try:
            with suppress(EOFError):
                await self._session.prompt_async(pre_run=self._replay, handle_sigint=False)
        finally:
            with lent():
                self._session.output.disable_bracketed_paste()
                self._session.output.flush()
            self._entered.put_nowait(None)

    def _replay(self) -> None:
        """Replay the keys that were typed earlier."""
        typed: list[KeyPress] = []
        Vt100Parser(typed.append).feed_and_flush(self._typed)
        processor = self._session.app.key_processor
        processor.feed_multiple(typed)
        processor.process_keys()

    async def read(self) -> Entered | None:
        """Return the next input; None after Ctrl-D on an empty line."""
        return await self._entered.get()

    def send(self, text: str, *, queued: bool = False) -> None:
        self._entered.put_nowait(Entered(text, queued))

    def put(self, text: str) -> None:
        """Print a text, including escape sequences, above the prompt."""
        self._printer.put(text)

    def size(self) -> tuple[int, int]:
        """Return the columns and lines of the terminal."""
        size = self._session.output.get_size()
        return size.columns, size.rows

    def ring(self, sequence: str) -> None:
        self._session.output.write_raw(sequence)
        self._session.output.flush()

    async def run_program(self, words: Sequence[str]) -> None:
        """Run a program in the terminal until it ends. Nothing is printed meanwhile."""
        with lent():
            async with in_terminal():
                program = await asyncio.create_subprocess_exec(*words)
                await program.wait()

    def refresh(self) -> None:
        """Redraw the lines at the bottom."""
        self._session.app.invalidate()

    def recall(self, text: str) -> None:
        """Put a text into the input, before the text that the user is typing."""
        buffer = self._session.default_buffer
        buffer.text = "\n".join(filter(None, [text, buffer.text]))
        buffer.cursor_position = len(buffer.text)

    def _message(self) -> AnyFormattedText:
        live = self._view.live()
        sign = f"In [{self._view.number}]: " if self.python else "› "
        return ANSI((f"{live}\n" if live else "") + f"\x1b[1;36m{sign}\x1b[0m")


@cache
def _python_lexer() -> Lexer:
    from prompt_toolkit.lexers import PygmentsLexer
    from pygments.lexers.python import PythonLexer

    return PygmentsLexer(PythonLexer)


class FileHistory(History):
    """The inputs that were entered earlier in this folder: one per line, as JSON, readable by the owner only.

    Read and write errors are ignored.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        """Yield the inputs, newest first."""
        with suppress(OSError):
            for line in reversed(files.read(self._path).splitlines()):
                with suppress(ValueError):
                    yield str(json.loads(line))

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            files.make_folder(self._path.parent)
            try:
                file = files.open_file(self._path, os.O_WRONLY | os.O_APPEND)
            except FileNotFoundError:
                file = files.create(self._path, os.O_WRONLY)
            try:
                files.write_all(file, f"{json.dumps(string)}\n".encode())
            finally:
                os.close(file)
