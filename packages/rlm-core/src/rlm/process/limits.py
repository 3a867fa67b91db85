"""Checks the system's limits before anything is changed, because a run that hits one fails in unexpected places."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlm.errors import ConfigError

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Need:
    """`least` is in bytes or a number; ulimit counts in `unit`s. `hard`: rlm raises the soft limit itself."""

    limit: int
    least: int
    flag: str
    what: str
    unit: int = 1
    hard: bool = False


# In tests, a run with a kernel worked with at most half of these, and with a third of the address space.
_NEEDS = (
    _Need(resource.RLIMIT_AS, 1_000_000 << 10, "v", "kB of address space", 1024),
    _Need(resource.RLIMIT_DATA, 256 << 20, "d", "kB of data", 1024),
    _Need(resource.RLIMIT_NOFILE, 64, "n", "open files", hard=True),
    _Need(resource.RLIMIT_FSIZE, 16 << 20, "f", "kB for a file", 1024),
    _Need(resource.RLIMIT_STACK, 512 << 10, "s", "kB of stack", 1024),
)

PROCESSES = 64
"""Processes and threads: of the host, its helpers, one kernel and its commands."""
_PLENTY = 10_000  # processes; above this, counting the running ones is not worth the time


def check_limits() -> None:
    """Check the limits of the system.

    Raises:
        ConfigError: a limit is too low.
    """
    if too_little := next(_too_little(), None):
        raise ConfigError(too_little)


def _too_little() -> Iterator[str]:
    for need in _NEEDS:
        soft, hard = resource.getrlimit(need.limit)
        allowed = hard if need.hard else soft
        if allowed != resource.RLIM_INFINITY and allowed < need.least:
            least = need.least // need.unit
            yield (
                f"The system allows {allowed // need.unit:,} {need.what}, and rlm needs {least:,}: ulimit -{need.flag}."
            )
    if sys.platform == "linux" and not (_PROC / "self" / "stat").exists():
        yield "/proc is not mounted, and rlm needs it to find what its kernels start: mount -t proc proc /proc."
    yield from _too_few_processes()


def _too_few_processes() -> Iterator[str]:
    """Check the limit of processes. The system counts all processes of a user, and does not limit root."""
    allowed = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.geteuid() == 0 or allowed == resource.RLIM_INFINITY or allowed > _PLENTY:
        return
    running = sum(map(_threads, _PROC.iterdir())) if _PROC.is_dir() else 0
    if allowed - running < PROCESSES:
        yield (
            f"The system allows {allowed:,} processes, of which {running:,} run, and rlm needs {PROCESSES}: ulimit -u."
        )


def _threads(process: Path) -> int:
    """Return the number of threads of a process of this user; proc_pid_status(5)."""
    with suppress(OSError, ValueError, KeyError):
        if process.name.isdecimal():
            text = (process / "status").read_text()  # by path: of the system
            lines = dict(line.split(":", 1) for line in text.splitlines())
            return int(lines["Threads"]) if int(lines["Uid"].split()[0]) == os.getuid() else 0
    return 0
