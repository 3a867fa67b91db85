"""How often skills are called. Each call writes a line to a pipe: `say` a command, `say()` a function in a kernel."""

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

_PAUSE = 0.01  # seconds between two looks at a pipe that is full again and again
_REST = 16  # blocks that are read at a look: as much as a pipe can hold
_LONGEST = 100  # bytes of a line that may be a name
_DIFFERENT = 1_000  # lines that are counted apart


class CallLog:
    """One agent's pipe for calls, made by the host before a kernel can.

    A pipe, so that calls take no disk, however many they are. Code in a kernel may write anything to it or put
    something else in its place. So it is read through a descriptor of our own, a bounded part at a time, and nothing is
    counted but names that are known. A skill does not wait for us (`rlm.skill.command`): of more than 10,000 calls in a
    hundredth of a second, some may be lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = files.create_pipe(path)
        self._news: Counter[str] = Counter()
        self._unfinished = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._handle, self._look)
        self._later: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """The pipe stays."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._handle)
        os.close(self._handle)

    def news(self) -> Counter[str]:
        """The lines since the last look."""
        drain(self._handle, self._take, _REST)
        news, self._news = self._news, Counter()
        return news

    def _look(self) -> None:
        drain(self._handle, self._take)
        self._loop.remove_reader(self._handle)
        self._later = self._loop.call_later(_PAUSE, self._loop.add_reader, self._handle, self._look)

    def _take(self, data: bytes) -> None:
        *lines, unfinished = (self._unfinished + data).split(b"\n")
        self._unfinished = unfinished[: _LONGEST + 1]  # what is longer is no name, however it ends
        for line, count in Counter(lines).items():
            name = line.decode(errors="replace")
            if len(line) <= _LONGEST and (name in self._news or len(self._news) < _DIFFERENT):
                self._news[name] += count


def called(news: Counter[str], known: Iterable[str]) -> SkillsCalled | None:
    """What the lines amount to; None if they name nothing that is known."""
    names = sorted(known)
    python = {name: count for name in names if (count := news[f"{name}()"])}
    shell = {name: count for name in names if (count := news[name])}
    return SkillsCalled(python, shell) if python or shell else None
