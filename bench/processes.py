"""Facts about the processes of a run, from /proc (Linux).

Processes are identified by a variable in their environment, which forks and daemons keep, and not by their parent,
which may change.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PROC = Path("/proc")


def marked(mark: str) -> list[int]:
    """The live processes whose environment contains `NAME=value`."""
    found = []
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def pss(pid: int) -> float:
    """Proportional set size in MiB: shared pages are divided among processes, so the sum of a tree is its real use."""
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0  # the process has ended


def processor_seconds(pid: int) -> float:
    """Seconds of processor time so far, to a hundredth. Unlike the wall clock, it hardly depends on other programs."""
    with suppress(OSError):
        user, system = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0.0  # the process has ended


def parent(pid: int) -> int:
    """The parent's process id; 0 if the process has ended."""
    with suppress(OSError):
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def descriptors(pid: int) -> int:
    """The number of open files and sockets."""
    return len(list((PROC / str(pid) / "fd").iterdir()))


class Sampler:
    """Records the maximum memory (in MiB) and the maximum number of processes of a tree."""

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
