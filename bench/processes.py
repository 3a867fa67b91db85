"""What the system says about the processes of a run. Linux: it reads /proc.

They are known by a variable in their environment, which a fork and a daemon keep, and not by their parents, which they
may lose.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PROC = Path("/proc")


def marked(mark: str) -> list[int]:
    """Living processes whose environment holds `NAME=value`."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def pss(pid: int) -> float:
    """Proportional set size in MiB: shared pages are counted in parts, so that a tree's sum is what it really takes."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0  # it has ended meanwhile


def parent(pid: int) -> int:
    """0 if it has ended meanwhile."""
    with suppress(OSError):
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def descriptors(pid: int) -> int:
    """Open files and sockets."""
    return len(list((PROC / str(pid) / "fd").iterdir()))


class Sampler:
    """Remembers the most memory, in MiB, and the most processes that a tree had at once."""

    def __init__(self, mark: str, every: float) -> None:
        self._mark = mark
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        self.peak = 0.0
        self.processes = 0

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(self._every):
            pids = marked(self._mark)
            self.peak = max(self.peak, sum(map(pss, pids)))
            self.processes = max(self.processes, len(pids))
