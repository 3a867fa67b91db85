"""Which processes a kernel has started, however they tried to get away. For Linux: elsewhere nothing is found.

A process that daemonises (setsid, double fork) is adopted by the zygote, which is a subreaper (prctl(2),
PR_SET_CHILD_SUBREAPER): it cannot leave the tree. Whose it was is told by its session or by a mark in the environment
that it was started with. `python -P -m rlm.inside.process_tree MARK` kills what is left of a zygote that was killed itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "RLM_KERNEL"
"""The variable that says which kernel a process comes from."""

_PATIENCE = 2.0  # seconds for killed processes to vanish; one in uninterruptible sleep takes longer
_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """`born` is in seconds since the machine's boot (CLOCK_BOOTTIME), to a hundredth."""

    pid: int
    parent: int
    session: int
    born: float
    alive: bool = True


def adopt_orphans() -> None:
    """Processes below us whose parent dies become our children."""
    with contextlib.suppress(AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(kernel: int, mark: str, box: int = 0) -> list[Process]:
    """The kernel's descendants, and those that were adopted by this process, or by the first one in its sandbox."""
    table = _table()
    adopters = {os.getpid(), box}
    roots = {kernel} | {p.pid for p in table.values() if p.parent in adopters and _belongs(p, kernel, mark)}
    return _alive_below(roots, table, besides=kernel)


def below(ancestor: int) -> list[Process]:
    """All descendants of a process."""
    return _alive_below({ancestor}, _table(), besides=ancestor)


def kill(processes: Iterable[Process]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL)


def kill_until_gone(members: Callable[[], Sequence[Process]], reap: Callable[[], object]) -> None:
    """Again and again: one that is killed may have started another a moment before."""
    end = time.monotonic() + _PATIENCE
    while (alive := members()) and time.monotonic() < end:
        kill(alive)
        time.sleep(0.001)
        reap()


def _table() -> dict[int, Process]:
    """With zombies: one whose other threads have yet to die still has its children."""
    return {process.pid: process for process in _processes()}


def _alive_below(roots: set[int], table: dict[int, Process], besides: int) -> list[Process]:
    return [p for pid, p in table.items() if p.alive and pid != besides and _below(pid, roots, table)]


def _below(pid: int, roots: set[int], table: dict[int, Process]) -> bool:
    seen: set[int] = set()
    while pid in table and pid not in seen:
        if pid in roots:
            return True
        seen.add(pid)
        pid = table[pid].parent
    return False


def marked(mark: str) -> list[Process]:
    """Those that any kernel of one zygote has started."""
    return [process for process in _processes() if process.alive and _mark(process).startswith(mark)]


def _belongs(process: Process, kernel: int, mark: str) -> bool:
    return process.session == kernel or _mark(process) == mark


def _mark(process: Process) -> str:
    """Empty if it has none, or is none of our business."""
    with contextlib.suppress(OSError):
        for variable in (_PROC / str(process.pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(f"{MARK}=".encode()):
                return variable.partition(b"=")[2].decode(errors="replace")
    return ""


def _processes() -> Iterator[Process]:
    if not _PROC.is_dir():
        return
    for entry in os.listdir(_PROC):  # noqa: PTH208 - thousands of entries, each a plain number
        if entry.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                yield _read(int(entry))


def _read(pid: int) -> Process:
    """proc_pid_stat(5); the name, in parentheses, may hold anything."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - thousands of them
        state, *rest = file.read().rpartition(b")")[2].split()
    return Process(pid, int(rest[0]), int(rest[2]), int(rest[18]) / _TICKS, alive=state not in {b"Z", b"X"})


if __name__ == "__main__":
    while left := marked(sys.argv[1]):
        kill(left)
