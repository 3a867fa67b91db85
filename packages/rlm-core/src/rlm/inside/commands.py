"""`!command` and `%%bash`, not on a pty: no colours, no pager, no question that nobody answers.

What they print goes where the kernel's descriptors 1 and 2 lead, or to a file if it is to be a value. So a command that
a script leaves behind holds nobody up, and what it prints later still arrives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from typing import IO

_GRACE = 0.5  # seconds that an interrupted command has to say its last words


def run(command: str) -> int:
    """Run a shell command to its end and return its exit code, negative for a signal."""
    with _started(command) as process:
        return _wait(process)


def capture(command: str) -> tuple[str, int]:
    """What it printed, and its exit code."""
    with tempfile.TemporaryFile() as output, _started(command, output) as process:
        code = _wait(process)
        output.seek(0)
        return output.read().decode(errors="replace"), code


def _started(command: str, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    shell = shutil.which("bash") or "/bin/sh"
    return subprocess.Popen(
        [shell, "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        process_group=0,
    )


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    except BaseException:
        _stop(process)
        raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    """An interrupt reached us, not the command: it has a process group of its own."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
