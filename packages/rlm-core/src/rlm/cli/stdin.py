"""The task: from the command line, from stdin, or both. Never hangs on a stdin that nobody writes to."""

from __future__ import annotations

import os
import select
import stat

from rlm.cli.arguments import CommandLine
from rlm.cli.streams import at_terminal, say
from rlm.config.environment import broker_address, is_ci
from rlm.errors import ConfigError
from rlm.text.encodings import decode_as_written

PATIENCE = 3.0
"""Seconds until a pipe's first byte must be there when there is a task already."""


_FOR_AN_ANSWER = ("json", "quiet", "output", "deltas", "limit_ok")


def prompt_is_meant(line: CommandLine) -> bool:
    """Whether a command line without a task asks for the prompt: a person is there, and wants no answer alone."""
    wants_answer = any(name in line.settings or line.wants(name) for name in _FOR_AN_ANSWER)
    return at_terminal() and not is_ci() and broker_address() is None and not wants_answer


def read_task(given: str | None, verbatim: str | None = None) -> str | None:
    """The whole task, or None when there is nobody to ask. `verbatim` is what stands behind `--`; in it `-` is a task.

    Raises:
        ConfigError: what should be the task is empty.
    """
    if verbatim is not None:
        given = verbatim
    elif given is None or given == "-":
        text = _read_all() if given == "-" or _kind() in ("file", "pipe") else None
        return None if text is None else _not_empty(text, "stdin")
    block = _beside(_not_empty(given, "the command line"))
    return f"{given}\n\n<stdin>\n{block}\n</stdin>" if block else given


def _not_empty(text: str, where: str) -> str:
    if not text.strip():
        raise ConfigError(f'The task from {where} is empty. Try: rlm "what to do"')
    return text


def _beside(_: str) -> str:
    kind = _kind()
    if kind == "pipe" and not select.select([0], [], [], PATIENCE)[0]:
        say(f"rlm: nothing came from the pipe on stdin within {PATIENCE:.0f} s; going on without it")
        return ""
    return _read_all().rstrip("\n") if kind in ("file", "pipe") else ""


def _kind() -> str:
    """file, pipe, or nothing: a terminal, a character device, closed."""
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
