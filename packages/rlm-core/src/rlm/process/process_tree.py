"""Processes and their descendants, including those that tried to detach. Linux only: elsewhere nothing is found.

A process that daemonises (setsid, double fork) is adopted by the nearest subreaper above it (prctl(2),
PR_SET_CHILD_SUBREAPER): it cannot leave the tree below that subreaper. Its session, or a mark in its initial
environment, shows which kernel or command started it.

`python -I -S process_tree.py MARK FOLDER` is the watcher that `rlm.process.supervisor` starts beside rlm's own process.
It cleans up if that process is killed. It must be ready in a few milliseconds, so this module imports little.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

MARK = "RLM_MARK"
"""The variable that identifies the kernel or command that started a process: a random text with a suffix."""

ENDED = "."
"""Sent to the watcher: rlm ends normally, and has cleaned up."""

_ROUNDS = 5  # rounds of the watcher, 0.1 s apart, for processes that were just starting when rlm was killed
_KILL_TIMEOUT = 2.0  # seconds for killed processes to vanish; one in uninterruptible sleep takes longer
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One process. `born` is in seconds since the machine's boot (CLOCK_BOOTTIME), to a hundredth."""

    pid: int
    parent: int
    session: int
    born: float
    alive: bool = True


def adopt_orphans() -> None:
    """Adopt the orphans below us: a process whose parent dies becomes our child."""
    import ctypes

    with suppress(AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(kernel: int, mark: str, sandbox_init: int = 0) -> list[Process]:
    """Return the kernel's descendants, also those adopted by this process or by the first process in its sandbox."""
    table = _table()
    adopters = {os.getpid(), sandbox_init}
    orphans = (process for process in table.values() if process.parent in adopters)
    roots = {kernel} | {p.pid for p in orphans if p.session == kernel or _mark(p) == mark}
    return _alive_below(roots, table, besides=kernel)


def below(ancestor: int) -> list[Process]:
    """Return all descendants of a process."""
    return _alive_below({ancestor}, _table(), besides=ancestor)


def marked(mark: str) -> list[Process]:
    """Return the processes whose mark starts with `mark`, anywhere in the tree."""
    return [process for process in _processes() if process.alive and _mark(process).startswith(mark)]


def kill(processes: Iterable[Process]) -> None:
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL)


def kill_group(group: int, signal_: signal.Signals = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal_)


def kill_until_gone(members: Callable[[], Sequence[Process]], reap: Callable[[], object] = lambda: None) -> None:
    """Kill repeatedly, because a killed process may have started another one just before."""
    end = time.monotonic() + _KILL_TIMEOUT
    while (alive := members()) and time.monotonic() < end:
        kill(alive)
        time.sleep(0.001)
        reap()


def _table() -> dict[int, Process]:
    """Return all processes, also zombies: a zombie with other threads that still run keeps its children."""
    return {process.pid: process for process in _processes()}


def _alive_below(roots: set[int], table: dict[int, Process], besides: int) -> list[Process]:
    return [p for pid, p in table.items() if p.alive and pid != besides and _is_below(pid, roots, table)]


def _is_below(pid: int, roots: set[int], table: dict[int, Process]) -> bool:
    seen: set[int] = set()
    while pid in table and pid not in seen:
        if pid in roots:
            return True
        seen.add(pid)
        pid = table[pid].parent
    return False


def _mark(process: Process) -> str:
    """Return the mark of a process; empty if it has none, or we may not read it."""
    with suppress(OSError):
        for variable in _read(process.pid, "environ").split(b"\0"):
            if variable.startswith(f"{MARK}=".encode()):
                return variable.partition(b"=")[2].decode(errors="replace")
    return ""


def _processes() -> Iterator[Process]:
    try:
        entries = os.listdir("/proc")  # noqa: PTH208 - thousands of entries, each a plain number
    except OSError:
        return
    for entry in entries:
        if entry.isdecimal():
            with suppress(OSError, IndexError, ValueError):
                yield _process(int(entry))


def _process(pid: int) -> Process:
    """Read a process; proc_pid_stat(5). The name, in parentheses, may contain anything."""
    state, *rest = _read(pid, "stat").rpartition(b")")[2].split()
    return Process(pid, int(rest[0]), int(rest[2]), int(rest[18]) / _TICKS, alive=state not in {b"Z", b"X"})


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - by path: of the system, and thousands of them
        return file.read()


def _watch(mark: str, folder: str) -> None:
    """Read process groups from stdin, `+ 123` and `- 123`. If it closes without `ENDED`, kill the remaining ones."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        word, _, group = line.strip().partition(" ")
        if word == ENDED:
            os._exit(0)  # at once: the owner of the folder waits for us, and an interpreter takes milliseconds to end
        (groups.add if word == "+" else groups.discard)(int(group))
    for number in groups:
        kill_group(number)
    import shutil  # late: the watcher must be ready in a few milliseconds

    for _ in range(_ROUNDS):
        kill_until_gone(lambda: marked(mark))
        shutil.rmtree(folder, ignore_errors=True)  # by path: it follows no link, and the folder's owner is dead
        time.sleep(0.1)  # again: a process that is being killed may still create a file in it


if __name__ == "__main__":
    _watch(*sys.argv[1:])
