"""The result of each task, and the file of results: one line per rollout, written when the rollout ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from rlm.errors import SessionError
from rlm.process import files
from rlm.sessions.records import TokenCounts

NAME = "results.jsonl"


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout of a task. `usage` (tokens), `cost` (US dollars) and `agents` are those of its whole tree.

    `reward` and `verify` are None without a verification; `duration` (seconds) includes set-up and verification.
    """

    id: str | int
    rollout: int
    status: str
    """done, limit or error."""
    stop_reason: str | None
    answer: str = ""
    value: Any = None
    reward: float | None = None
    verify: str | None = None
    """The last line that the command `verify` printed."""
    usage: TokenCounts = msgspec.field(default_factory=TokenCounts)
    cost: float | None = None
    turns: int = 0
    agents: int = 0
    duration: float = 0.0
    session_dir: str | None = None
    error: str = ""
    metadata: Any = None

    @property
    def key(self) -> tuple[str, int]:
        """The id of the task, as text, and the number of the rollout: equal to the key of its job."""
        return str(self.id), self.rollout

    @property
    def ok(self) -> bool:
        """Whether there is an answer, regardless of its reward."""
        return self.status == "done"

    @property
    def passed(self) -> bool:
        """Whether the answer is right; without a reward, whether there is one."""
        return self.ok if self.reward is None else self.reward >= 1

    def line(self) -> bytes:
        """The result as one line of JSON."""
        return json.dumps(msgspec.to_builtins(self), ensure_ascii=False).encode(errors="replace") + b"\n"


class ResultsFile:
    """Owns DIR/results.jsonl. A line is on disk when `append` returns."""

    def __init__(self, folder: int) -> None:
        """`folder` is a descriptor.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            self._file = files.open_file(NAME, os.O_WRONLY | os.O_APPEND, dir_fd=folder)
        except FileNotFoundError:
            self._file = files.create(NAME, os.O_WRONLY | os.O_APPEND, dir_fd=folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._file)

    def append(self, result: TaskResult) -> None:
        """
        Raises:
            SessionError: the result cannot be written.
        """
        try:
            files.write_all(self._file, result.line())
            _sync(self._file)
        except OSError as error:
            raise SessionError(f"{NAME} cannot be written: {error.strerror}.") from None


_sync = getattr(os, "fdatasync", os.fsync)  # macOS only has fsync


def read_results(path: Path) -> Iterator[TaskResult]:
    """Yield the results of a file, without a partial line of a killed writer."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return
    for line in data.split(b"\n"):
        try:
            yield msgspec.convert(json.loads(line), TaskResult)
        except (ValueError, msgspec.ValidationError):
            continue
