"""Report on a kernel that has ended: the reason, its unsent output, and where it crashed."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

from rlm.process import files

_COUNT = 8  # bytes
_LARGEST = 1 << 20  # bytes that are read of the crash file; the kernel can write anything to it
_MACHINERY = "IPython/core/interactiveshell.py"  # from here on, a stack does not concern the cell

DISCONNECTED = "it closed its connection, or it sent a message of more than 256 MiB or 1,000 parts, and was killed"

_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "it was killed by SIGKILL, as the system does when memory runs out",
    signal.SIGSEGV: "it crashed with SIGSEGV, an invalid memory access",
    signal.SIGABRT: "it aborted with SIGABRT",
    signal.SIGTERM: "it was ended by SIGTERM",
}


def how_it_ended(status: int | None) -> str:
    """Describe a process status of waitpid, and its likely reason."""
    if status is None:
        return "it was killed together with the process that starts kernels"
    if not os.WIFSIGNALED(status):
        return f"its process exited with code {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    return _SIGNALS.get(number) or f"it was killed by signal {number}"


def crash_report(log: str) -> str:
    """Return the part of a kernel's log that shows why it could not start, or which line of a cell crashed it."""
    lines = itertools.takewhile(lambda line: _MACHINERY not in line, log.strip().splitlines())
    return "".join(f"{line}\n" for line in lines)


def length(text: str) -> int:
    """Return the length in bytes, as the kernel counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def unsent(path: Path, received: int) -> str:
    """Return the output after the first `received` bytes, which the kernel could not send; at most the newest part.

    `rlm.inside.emergencies` writes the file and describes its format. A kernel could have replaced the file.
    """
    try:
        with os.fdopen(files.open_file(path), "rb") as file:
            content = file.read(_LARGEST)
    except OSError:
        return ""
    count, ring = int.from_bytes(content[:_COUNT], "little"), content[_COUNT:]
    missing = count - received
    if missing <= 0 or not ring:
        return ""
    end = count % len(ring)
    newest = (ring[end:] + ring[:end])[-missing:].decode("utf-8", "replace")
    lost = missing - len(ring)
    return f"\n[… {lost:,} bytes were lost …]\n{newest}" if lost > 0 else newest
