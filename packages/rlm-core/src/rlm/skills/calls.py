"""How often skills are called. Each call leaves a line in a file: `say` a command, `say()` a function in a kernel."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rlm.events import SkillsCalled
from rlm.process import files
from rlm.skill.calls import VARIABLE as CALLS

__all__ = ["CALLS", "CallLog"]

_SHARE = 1 << 18  # bytes that are read at a time; 40,000 calls of a skill with a short name


class CallLog:
    """One agent's file of calls, made by the host before a kernel can.

    Code in a kernel may write anything to it or put something else in its place. So it is read through a descriptor of
    our own, a bounded part at a time, and nothing is counted but names that are known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = files.create(path)
        self._read = 0

    def close(self) -> None:
        """The file stays."""
        os.close(self._handle)

    def news(self) -> Counter[str]:
        """The lines since the last look. Of more than 256 KiB, the rest comes with the next."""
        data = os.pread(self._handle, _SHARE, self._read)
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return Counter(whole.decode(errors="replace").splitlines())


def called(news: Counter[str], known: Iterable[str]) -> SkillsCalled | None:
    """What the lines amount to; None if they name nothing that is known."""
    names = sorted(known)
    python = {name: count for name in names if (count := news[f"{name}()"])}
    shell = {name: count for name in names if (count := news[name])}
    return SkillsCalled(python, shell) if python or shell else None
