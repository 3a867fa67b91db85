"""`!command` and `%%bash`, on pipes and not on a pty: no colours, no pager, no question that nobody answers.

What they print goes where the kernel's descriptors 1 and 2 lead. So a command that a script leaves behind holds nobody
up, and what it prints later still arrives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess

_GRACE = 0.5  # seconds that an interrupted command has to say its last words


def run(command: str) -> int:
    """Run a shell command to its end and return its exit code, negative for a signal."""
    with _started(command) as process:
        return _wait(process)


def capture(command: str) -> tuple[str, int]:
    """What it printed, and its exit code."""
    with _started(command, subprocess.PIPE) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            _stop(process)
            raise
        return output.decode(errors="replace"), process.returncode


def _started(command: str, output: int | None = None) -> subprocess.Popen[bytes]:
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
