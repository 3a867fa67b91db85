"""A real pseudo-terminal that runs a command. It returns every byte, and interprets none."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import tty
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm_testkit.cli import Rlm
from rlm_testkit.waiting import TIMEOUT


class PseudoTerminal:
    """Runs `rlm WORDS` with the terminal as its stdin, stdout and stderr, and as its controlling terminal."""

    def __init__(
        self, rlm: Rlm, *words: str, columns: int = 4_000, lines: int = 50_000, cwd: Path | None = None, **env: str
    ) -> None:
        self.seen = bytearray()
        """All output so far."""
        self._parent_end, child_end = pty.openpty()
        tty.setraw(child_end)  # otherwise the terminal converts each newline to two bytes, which hides carriage returns
        fcntl.ioctl(child_end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            ["setsid", "--ctty", str(rlm.command), *words],
            cwd=cwd or rlm.cwd,
            env=rlm.env(**env),
            stdin=child_end,
            stdout=child_end,
            stderr=child_end,
        )
        os.close(child_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._parent_end)

    def end(self) -> int:
        """Wait until all processes have closed the terminal; return the exit code."""
        while self._read():
            pass
        return self._process.wait(TIMEOUT)

    def _read(self) -> bool:
        """Read the available output. False: no more will come."""
        if not select.select([self._parent_end], [], [], TIMEOUT)[0]:
            raise TimeoutError(bytes(self.seen[-2_000:]))
        try:
            data = os.read(self._parent_end, 65_536)
        except OSError:  # Linux reports a closed other end in this way
            return False
        self.seen += data
        return bool(data)

    def write(self, data: bytes) -> None:
        """Send typed keys."""
        os.write(self._parent_end, data)
