"""Starts programs in a temporary folder, measures them from outside, and removes everything they leave behind."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench import processes

TIME_LIMIT = 900.0
"""Seconds after which a run is stopped."""

Settings = Mapping[str, str | int]

FLOORS = Path(__file__).parent / "floors"


class RunFailedError(Exception):
    """A program did not do its work. The message has its last output."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run, measured from outside. Times are `time.monotonic()`."""

    began: float
    ended: float
    stdout: str

    @property
    def wall(self) -> float:
        """Duration in seconds."""
        return self.ended - self.began


class Bench:
    """The environment of all runs of one session: one home folder, and a fresh working directory for each run."""

    def __init__(self, rlm: Path) -> None:
        self.rlm = rlm
        self._root = Path(tempfile.mkdtemp(prefix="bench-"))
        self._mark = f"BENCH_RUN={self._root.name}"
        self._numbers = itertools.count(1)
        (self._root / "home").mkdir()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self._root, ignore_errors=True)

    def run_rlm(self, word: str, settings: Settings | None = None, watch: Callable[[int], None] | None = None) -> Ran:
        """Run `rlm WORD`. Settings are given by name, such as base_url."""
        variables = {f"RLM_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        return self.run([str(self.rlm), word], variables, watch)

    def run_floor(self, program: str, *words: object) -> Ran:
        """Run one of the programs in `floors`."""
        command = [sys.executable, str(FLOORS / f"{program}.py"), *map(str, words)]
        return self.run(command, {"PYTHONPATH": str(FLOORS.parents[1])})

    def run(
        self,
        command: Sequence[str],
        variables: dict[str, str] | None = None,
        watch: Callable[[int], None] | None = None,
    ) -> Ran:
        """Run a program to its end. `watch` gets the process id at once.

        Raises:
            RunFailedError: the exit code is not 0, or the program takes too long or leaves a process behind.
        """
        folder = self._root / str(next(self._numbers))
        folder.mkdir()
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            began = time.monotonic()
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=self._environment() | (variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            if watch is not None:
                watch(process.pid)
            ended = self._wait(process)
        self._check(Path(command[0]).name, process.returncode, folder)
        return Ran(began, ended, (folder / "stdout").read_text(errors="replace"))

    def workspace(self) -> tuple[Path, dict[str, str]]:
        """A fresh working directory, and the environment for programs that the caller starts."""
        folder = self._root / str(next(self._numbers))
        folder.mkdir()
        return folder, self._environment()

    def tree(self) -> list[int]:
        """The process ids of the running program and its children."""
        return processes.marked(self._mark)

    @contextmanager
    def memory(self, every: float = 0.05) -> Iterator[processes.Sampler]:
        """Sample the memory of the programs that run meanwhile.

        This costs time, so do not measure the time of the same run.
        """
        with processes.Sampler(self._mark, every) as sampler:
            yield sampler

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        name, value = self._mark.split("=")
        return kept | {name: value, "HOME": str(self._root / "home")}

    def _wait(self, process: subprocess.Popen[bytes]) -> float:
        """Wait without a time limit: a wait with one polls, and would be late by up to 50 ms."""
        alarm = threading.Timer(TIME_LIMIT, process.kill)
        alarm.start()
        try:
            process.wait()
            return time.monotonic()
        finally:
            alarm.cancel()

    def _check(self, name: str, code: int, folder: Path) -> None:
        left = self._survivors()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if code != 0:
            reported = (folder / "stderr").read_text(errors="replace").strip()[-600:]
            raise RunFailedError(f"{name}: exit code {code}: {reported}")
        if left:
            raise RunFailedError(f"{name}: left {len(left)} processes behind")

    def _survivors(self, grace: float = 5.0) -> list[int]:
        deadline = time.monotonic() + grace
        while (left := self.tree()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left
