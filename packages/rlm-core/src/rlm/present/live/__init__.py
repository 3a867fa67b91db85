"""What a user sees on stderr while a run goes on: a line per cell and agent, and on a terminal the live tree.

Records are folded into the tree as it looks now (`tree`); `lines` and `frame` say how it reads, `writer` puts it there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TextIO

from rlm.config.environment import PictureProtocol
from rlm.config.readers import ColorChoice
from rlm.core.messages import Usage
from rlm.present.live import lines
from rlm.present.live.frame import frame
from rlm.present.live.row import Row
from rlm.present.live.tree import ROOT, AgentTree, fold
from rlm.present.live.writer import Writer
from rlm.sessions.records import ErrorRecord, Record, ResultRecord, RunEndRecord, WaitingRecord
from rlm.text.styled import Span, Style

__all__ = ["Screen", "open_screen"]

SILENCE = 4.0
"""Seconds. An agent waits for 25 before it says so, and whoever watches shall hear something every 30."""


class Screen:
    """Shows one run. Every method returns at once, whatever becomes of the stream."""

    def __init__(self, writer: Writer, *, quiet: bool, live: bool, silence: float, verbose: bool = False) -> None:
        """`live`: what moves says that the run waits. Else a line does, after so many seconds of `silence`."""
        self._writer = writer
        self._quiet = quiet
        self._live = live
        self._silence = silence
        self._verbose = verbose
        self._said = 0.0
        self._tree = AgentTree()

    def __call__(self, record: Record) -> None:
        """Take in a record of any agent of the tree, as `--json` prints it.

        The last one of the root returns when the live tree is gone: the terminal is then free for the answer.
        """
        now = time.monotonic()
        rows = lines.rows_of(self._tree, record, now, verbose=self._verbose)
        self._tree = fold(self._tree, record, now)
        waits = isinstance(record, WaitingRecord)  # of many agents that wait, one says so
        if rows and not (waits and (self._live or now < self._said + self._silence)):
            self._said = now
            for row in rows:
                self._say(row, error=isinstance(record, ErrorRecord))
        if not self._quiet:
            self._writer.show(partial(frame, self._tree))
        if isinstance(record, ResultRecord | RunEndRecord) and (record.agent or ROOT) == ROOT:
            self.flush()

    def header(
        self,
        *,
        model: str,
        cwd: str | Path,
        tools: Sequence[str],
        session_id: str = "",
        sandbox: str = "off",
        recorded: bool = False,
    ) -> None:
        """What runs, where, with which tools, and in which sandbox. `recorded`: no model is asked."""
        self._say(
            lines.header(
                model=model,
                cwd=str(cwd),
                tools=tools,
                session_id=session_id,
                sandbox=sandbox,
                recorded=recorded,
            )
        )

    def footer(
        self,
        *,
        turns: int,
        agents: int,
        usage: Usage,
        duration: float | None = None,
        resume: str = "",
        stop: str = "",
    ) -> None:
        """What it came to, in the whole tree. `resume` is the command that goes on, empty if none can."""
        self._say(lines.footer(turns=turns, agents=agents, usage=usage, duration=duration, resume=resume, stop=stop))

    def note(self, text: str) -> None:
        """One line of rlm's own."""
        self._say(Row((Span(text, Style.DIM),)))

    def flush(self) -> None:
        """What was said is written, or cannot be."""
        self._writer.flush()

    def _say(self, row: Row, *, error: bool = False) -> None:
        if error or not self._quiet:
            self._writer.say(row)


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
    """The screen on `stream`, for one run. What moves is gone when it is left, and all is written.

    Args:
        stream: None, closed or full: nothing is shown.
        quiet: nothing but errors.
        width: columns, instead of the terminal's own, or of 100 where there is no terminal.
        live: False for lines alone on a terminal too, for something else writes to it meanwhile.
        silence: seconds after which a line says that an agent still waits.
        verbose: the code and the output of each call, too.
        pictures: how the terminal shows them, if it does.
    """
    stream = StringIO() if stream is None else stream
    terminal = not stream.closed and stream.isatty()
    live = live and terminal and not quiet
    with Writer(stream, color=color.colors(terminal=terminal), live=live, width=width, pictures=pictures) as writer:
        yield Screen(writer, quiet=quiet, live=live, silence=silence, verbose=verbose)
