"""The output on stderr during a run: a line per cell and agent and, on a terminal, the live tree.

Records are folded into the current tree (`tree`); `lines` and `frame` format it, `writer` writes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import StringIO
from typing import TextIO

from rlm.config.environment import PictureProtocol
from rlm.config.readers import ColorChoice
from rlm.present.live import lines
from rlm.present.live.frame import frame
from rlm.present.live.row import Row
from rlm.present.live.tree import ROOT, AgentTree, fold
from rlm.present.live.writer import Writer
from rlm.sessions.records import ErrorRecord, Record, ResultRecord, RunEndRecord, WaitingRecord
from rlm.text.styled import Span, Style

__all__ = ["Screen", "open_screen"]

SILENCE = 4.0
"""Seconds. An agent reports a wait only after 25 seconds; the user must see something at least every 30."""


class Screen:
    """Shows one run. Every method returns at once, even if the stream blocks or fails."""

    def __init__(self, writer: Writer, *, quiet: bool, live: bool, silence: float, verbose: bool = False) -> None:
        """`live`: the moving frame shows that the run waits. Otherwise a line shows it after `silence` seconds."""
        self._writer = writer
        self._quiet = quiet
        self._live = live
        self._silence = silence
        self._verbose = verbose
        self._said = 0.0
        self._tree = AgentTree()

    def show(self, record: Record) -> None:
        """Show a record of any agent of the tree; the records are those that `--json` prints.

        For the root's last record the call returns after the live tree is removed: the terminal is then free for the
        answer.
        """
        now = time.monotonic()
        rows = lines.rows_of(self._tree, record, now, verbose=self._verbose)
        self._tree = fold(self._tree, record, now)
        waits = isinstance(record, WaitingRecord)  # if many agents wait, one of them is enough
        if rows and not (waits and (self._live or now < self._said + self._silence)):
            self._said = now
            for row in rows:
                self.say(row, error=isinstance(record, ErrorRecord))
        if not self._quiet:
            self._writer.show(partial(frame, self._tree))
        if isinstance(record, ResultRecord | RunEndRecord) and (record.agent or ROOT) == ROOT:
            self.flush()

    def say(self, row: Row, *, error: bool = False) -> None:
        """Print a line. With `quiet` only errors are printed."""
        if error or not self._quiet:
            self._writer.say(row)

    def note(self, text: str) -> None:
        """Print one line of rlm itself."""
        self.say(Row((Span(text, Style.DIM),)))

    def flush(self) -> None:
        """Wait until all output is written, or cannot be written."""
        self._writer.flush()


@contextmanager
def open_screen(
    stream: TextIO | None,
    *,
    quiet: bool,
    color: ColorChoice,
    width: int | None = None,
    live: bool = True,
    silence: float = SILENCE,
    verbose: bool = False,
    pictures: PictureProtocol | None = None,
) -> Iterator[Screen]:
    """Open the screen on `stream` for one run. On exit the frame is removed, and all lines are written.

    Args:
        stream: nothing is shown if it is None, closed or full.
        quiet: only errors.
        width: columns; default: the terminal's width, or 100 without a terminal.
        live: False: only lines on a terminal too, because something else writes to it meanwhile.
        silence: seconds after which a line says that an agent still waits.
        verbose: also show the code and the output of each call.
        pictures: the terminal's protocol for pictures; None if it has none.
    """
    stream = StringIO() if stream is None else stream
    terminal = not stream.closed and stream.isatty()
    live = live and terminal and not quiet
    with Writer(stream, color=color.colors(terminal=terminal), live=live, width=width, pictures=pictures) as writer:
        yield Screen(writer, quiet=quiet, live=live, silence=silence, verbose=verbose)
