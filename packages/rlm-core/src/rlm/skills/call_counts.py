"""Count the calls of skills. Each call writes a line to a pipe: `say` for a command, `say()` for a function."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rlm.core.events import SkillsCalled
from rlm.process import files
from rlm.process.pipes import drain
from rlm.skill.command import CALLS

__all__ = ["CALLS", "CallLog"]

_PAUSE = 0.01  # seconds between two reads of a pipe that always has data
_REST = 16  # blocks per read: as much as a pipe can hold
_LONGEST = 100  # maximum bytes of a line that can be a name
_DIFFERENT = 1_000  # maximum different lines that are counted


class CallLog:
    """One agent's pipe for calls. The host creates it before a kernel can.

    It is a pipe, so that any number of calls takes no disk space. Code in a kernel may write anything to it, or replace
    it. So it is read through our own descriptor, a bounded part at a time, and only known names are counted. A skill
    does not wait for the host (`rlm.skill.command`): of more than 10,000 calls in a hundredth of a second, some may be
    lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = files.create_pipe(path)
        self._news: Counter[str] = Counter()
        self._unfinished = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._handle, self._read_and_pause)
        self._later: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Stop reading. The pipe stays."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._handle)
        os.close(self._handle)

    def take_counts(self) -> Counter[str]:
        """Return the lines since the last call."""
        drain(self._handle, self._count_lines, _REST)
        news, self._news = self._news, Counter()
        return news

    def _read_and_pause(self) -> None:
        drain(self._handle, self._count_lines)
        self._loop.remove_reader(self._handle)
        self._later = self._loop.call_later(_PAUSE, self._loop.add_reader, self._handle, self._read_and_pause)

    def _count_lines(self, data: bytes) -> None:
        *lines, unfinished = (self._unfinished + data).split(b"\n")
        self._unfinished = unfinished[: _LONGEST + 1]  # a longer line cannot be a name
        for line, count in Counter(lines).items():
            name = line.decode(errors="replace")
            if len(line) <= _LONGEST and (name in self._news or len(self._news) < _DIFFERENT):
                self._news[name] += count


def count_calls(news: Counter[str], known: Iterable[str]) -> SkillsCalled | None:
    """Count the lines that name known skills; None if there are none."""
    names = sorted(known)
    python = {name: count for name in names if (count := news[f"{name}()"])}
    shell = {name: count for name in names if (count := news[name])}
    return SkillsCalled(python, shell) if python or shell else None
