"""Long text on a terminal: through a pager when it does not fit, as git does it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from rlm.cli.streams import put_painted, stdout_is_terminal
from rlm.config import Config, pager


class _Console(Console):
    """Leaves it to `main` what becomes of a command that nobody reads any more; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(config: Config) -> Console:
    """stdout, as the settings want it coloured."""
    force = {"always": True, "never": False}.get(config.color)
    return _Console(force_terminal=force, highlight=False, markup=False)


@contextmanager
def paged(config: Config) -> Iterator[Console]:
    """A console whose text goes through the user's pager if stdout is a terminal and it is longer than that."""
    out = console(config)
    if not stdout_is_terminal():
        yield out
        return
    with out.capture() as captured:
        yield out
    text = captured.get()
    if text.count("\n") < out.height or not _shown_by_pager(text):
        put_painted(text.removesuffix("\n"))


def _shown_by_pager(text: str) -> bool:
    """False where there is none."""
    try:
        words, environment = pager()
        program = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
    except (OSError, ValueError):  # no such program, or quotes that do not end
        return False
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the pager's to heed
    try:
        program.communicate(text.encode(errors="replace"))
    finally:
        signal.signal(signal.SIGINT, before)
    return True
