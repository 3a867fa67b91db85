"""Reads the task from the command line, from stdin, or both. Never hangs on a stdin that nobody writes to."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlm.cli.arguments import CommandLine
from rlm.cli.streams import at_terminal, say
from rlm.config.environment import broker_address, is_ci
from rlm.config.settings import Config
from rlm.errors import ConfigError
from rlm.present.humanize import many
from rlm.text.encodings import decode_as_written

if TYPE_CHECKING:
    from rlm.broker.payload import ContextPayload

FIRST_DATA_TIMEOUT = 3.0
"""Seconds to wait for a pipe's first byte if there is a task already."""


_FOR_AN_ANSWER = ("json", "quiet", "output", "deltas", "limit_ok")


def prompt_is_meant(line: CommandLine) -> bool:
    """Whether a command without a task opens the prompt: a user is present, and no flag asks for an answer only."""
    wants_answer = any(name in line.settings or line.wants(name) for name in _FOR_AN_ANSWER)
    return at_terminal() and not is_ci() and broker_address() is None and not wants_answer


LARGE = 100_000
"""Maximum bytes of stdin that go into the prompt beside a task. A longer text goes into the variable `context`."""


@dataclass(frozen=True, slots=True)
class GivenTask:
    """A task. `prompt` is its text, `beside` more text from stdin; `read` describes what was read from stdin."""

    prompt: str
    beside: str = ""
    read: str = ""

    @property
    def is_large(self) -> bool:
        """Whether the text from stdin is too large for the prompt."""
        return len(self.beside) > LARGE or len(self.beside.encode()) > LARGE

    def __str__(self) -> str:
        """The task and the text from stdin, for the prompt."""
        return f"{self.prompt}\n\n<stdin>\n{self.beside}\n</stdin>" if self.beside else self.prompt


def read_task(prompt: str | None, verbatim: str | None = None) -> GivenTask | None:
    """Read the task; None if there is no source. `verbatim` is the text after `--`; in it `-` is a task and not stdin.

    Raises:
        ConfigError: the task is empty.
    """
    if verbatim is not None:
        prompt = verbatim
    elif prompt is None or prompt == "-":
        text = _read_all() if prompt == "-" or _kind() in ("file", "pipe") else None
        return None if text is None else GivenTask(_not_empty(text, "stdin"), read=_amount(text))
    _not_empty(prompt, "the command line")
    beside = _beside()
    return GivenTask(prompt, beside, _amount(beside) if beside else "")


@contextmanager
def stdin_as_context(task: GivenTask, config: Config) -> Iterator[ContextPayload | None]:
    """Provide stdin as a file for the kernel if it is too large for the prompt; otherwise None."""
    if not task.is_large or config.context is not None or "ipython" not in config.tools:
        yield None
        return
    from rlm.host.spec import context_file
    from rlm.process import files
    from rlm.process.supervisor import Supervisor

    with Supervisor() as private:
        path = private.folder / "stdin"
        files.write_new(path, task.beside.encode(errors="replace"))
        yield context_file(path)


def _amount(text: str) -> str:
    """`stdin: 49 lines, 2 kB`"""
    size, lines = len(text.encode(errors="replace")), len(text.splitlines())
    return f"stdin: {many(lines, 'line')}, {f'{-(-size // 1000):,} kB' if size >= 1000 else many(size, 'byte')}"


def _not_empty(text: str, where: str) -> str:
    if not text.strip():
        raise ConfigError(f'The task from {where} is empty. Try: rlm "what to do"')
    return text


def _beside() -> str:
    """The text on stdin beside a task, if there is any."""
    kind = _kind()
    if kind == "pipe" and not select.select([0], [], [], FIRST_DATA_TIMEOUT)[0]:
        say(f"rlm: no data came from the pipe on stdin within {FIRST_DATA_TIMEOUT:.0f} s; continuing without it")
        return ""
    return _read_all().rstrip("\n") if kind in ("file", "pipe") else ""


def _kind() -> str:
    """The type of stdin: file, pipe, or nothing (a terminal, a character device, closed)."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return "nothing"
    if stat.S_ISREG(mode):
        return "file"
    return "pipe" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else "nothing"


def _read_all() -> str:
    try:
        with open(0, "rb", closefd=False) as stream:
            return decode_as_written(stream.read())
    except OSError as error:
        raise ConfigError(f"The task cannot be read from stdin: {error.strerror}") from error
