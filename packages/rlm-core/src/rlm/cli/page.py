"""Long text on a terminal: through a pager when it does not fit, as git does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from rlm.cli.streams import put_painted, stdout_is_terminal
from rlm.config import Config


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
    if text.count("\n") < out.height:
        put_painted(text.removesuffix("\n"))
        return
    from pydoc import pager  # PAGER, else less

    pager(text)
