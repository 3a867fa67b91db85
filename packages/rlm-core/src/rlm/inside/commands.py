"""Run `!command` and `%%bash` without a pty: no colours, no pager, no questions to a user.

Output goes to the kernel's descriptors 1 and 2, or to a file if the cell wants it as a value. So a background command
that a script leaves running blocks nothing, and its later output still arrives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, Protocol

_GRACE = 0.5  # seconds to wait for the end of a command after SIGINT, and after SIGKILL

_File = IO[bytes] | None


class Writable(Protocol):
    def write(self, text: str, /) -> object: ...


def run(command: str, out: Writable | None = None, err: Writable | None = None) -> int:
    """Run a shell command to its end and return its exit code, negative for a signal.

    `out` and `err` get the output when the command has ended, instead of the descriptors 1 and 2.
    """
    with _written_to(out) as output:
        if out is not None and err is out:
            return _run(command, output, output)
        with _written_to(err) as errors:
            return _run(command, output, errors)


def capture(command: str) -> tuple[str, int]:
    """Run a shell command. Return its output and its exit code."""
    with tempfile.TemporaryFile() as output:
        code = _run(command, output, output)
        output.seek(0)
        return output.read().decode(errors="replace"), code


@contextlib.contextmanager
def _written_to(stream: Writable | None) -> Iterator[_File]:
    if stream is None:
        yield None
        return
    with tempfile.TemporaryFile() as file:
        try:
            yield file
        finally:
            file.seek(0)
            stream.write(file.read().decode(errors="replace"))


def _run(command: str, output: _File, errors: _File) -> int:
    arguments = [shutil.which("bash") or "/bin/sh", "-c", command]
    with subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, process_group=0
    ) as process:
        try:
            return process.wait()
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the command, then kill it. It has its own process group, so our interrupt did not reach it."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
