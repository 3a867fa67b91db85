"""The interactive prompt: the time until it appears, and until a key is shown while a cell prints without end."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from types import TracebackType
from typing import Self

from rlm_testkit.scripted import Scripted, always, text

from bench.harness import Bench, RunFailedError
from bench.measures import RLM, Measure, Sample, Scenario

SIGN = "›".encode()
CURSOR, HERE = b"\x1b[6n", b"\x1b[1;1R"
"""The query for the cursor's position, which prompt_toolkit sends, and a terminal's response."""

KEYS = "¡¢£¥¦§©«¬®°±µ¶·»¿×ØÞßæðø"
"""Characters that appear nowhere else on the screen."""
LINES = 10_000
"""Lines per second."""
PRINTING = f">import time\x1b\rwhile True: print('line\\n' * {LINES // 100}, end='', flush=True); time.sleep(0.01)\r"
TIME_LIMIT = 60.0


def scenarios() -> list[Scenario]:
    return [
        Scenario(
            "prompt",
            {
                "appears": Measure("process start to the prompt", "ms", 400),
                "key": Measure(f"a key is seen, p50, while a cell prints {LINES:,} lines a second", "ms", 30),
                "slow_key": Measure("the same, p90", "ms", 30),
            },
            {RLM: _prompt},
            full=5,
            quick=2,
        )
    ]


def _prompt(bench: Bench) -> Sample:
    folder, environment = bench.workspace()
    with Scripted(always(text("never asked"))) as server:
        began = time.monotonic()
        variables = {"RLM_BASE_URL": server.url, "TERM": "xterm-256color"}
        with PromptTerminal([str(bench.rlm)], folder, environment | variables) as terminal:
            terminal.until(SIGN)
            appeared = time.monotonic() - began
            terminal.write(PRINTING)
            terminal.rest(1.0)
            delays = [terminal.typed(key) for key in KEYS]
            terminal.write("\x03")
            terminal.rest(0.5)
    return {"appears": appeared, "key": median(delays), "slow_key": quantiles(delays, n=10)[-1]}


class PromptTerminal:
    """A pseudo-terminal whose output is read at once."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._parent_end, child_end = pty.openpty()
        fcntl.ioctl(child_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=child_end,
            stdout=child_end,
            stderr=child_end,
            start_new_session=True,
        )
        os.close(child_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(TIME_LIMIT)
        finally:
            self._process.kill()
            os.close(self._parent_end)

    def write(self, keys: str) -> None:
        os.write(self._parent_end, keys.encode())

    def typed(self, key: str) -> float:
        """Press a key; return the seconds until it is shown."""
        began = time.monotonic()
        self.write(key)
        self.until(key.encode())
        seen = time.monotonic() - began
        self.rest(0.07)  # people type no faster than that
        return seen

    def until(self, wanted: bytes) -> None:
        """
        Raises:
            RunFailedError: the text does not appear in time.
        """
        seen = b""
        for data in self._read(TIME_LIMIT):
            seen = seen[-100:] + data
            if wanted in seen:
                return
        raise RunFailedError(f"the terminal does not show {wanted.decode()!r}")

    def rest(self, seconds: float) -> None:
        for _ in self._read(seconds):
            pass

    def _read(self, seconds: float) -> Iterator[bytes]:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._parent_end], [], [], left)[0]:
                data = os.read(self._parent_end, 1 << 16)
                if CURSOR in data:
                    os.write(self._parent_end, HERE)
                yield data
