"""The folder of a batch: what it is about, what has come of it, and that nobody else works on it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from rlm.batches.results import Finished, ResultsFile, TaskResult, keep, read_results
from rlm.batches.summary import summary
from rlm.batches.tasks import BatchTask, Job
from rlm.errors import ConfigError, SessionError
from rlm.process import files
from rlm.sessions import Session
from rlm.text.json_lines import read_objects, read_typed
from rlm.version import VERSION

CONFIG, TASKS, STARTED, SUMMARY = "config.json", "tasks.jsonl", "started.jsonl", "summary.json"


CONCURRENCY = 16
"""Tasks at once where nobody says otherwise."""


class BatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """config.json. No key and no endpoint: those come from the environment alone."""

    settings: dict[str, str]
    cwd: str
    tasks: str
    """The file that they were read from. DIR/tasks.jsonl has those of this batch."""
    rollouts: int = 1
    concurrency: int = CONCURRENCY
    limit: int | None = None
    shard: str | None = None
    workdir_from: str | None = None
    discard_workdirs: bool = False
    setup: str | None = None
    verify: str | None = None
    atif: bool = False
    executor: str = "here"
    version: str = VERSION


def exists(path: Path) -> bool:
    """Whether a batch is there."""
    return (path / CONFIG).is_file()


def create(path: Path, config: BatchConfig, tasks: Iterable[BatchTask]) -> None:
    """Make the folder. config.json is written last: without it there is no batch.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder = files.open_folder(path, make=True)
        try:
            files.replace(TASKS, b"".join(task.line() for task in tasks), dir_fd=folder)
            files.replace(CONFIG, _json(msgspec.to_builtins(config)), dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def read_config_file(path: Path) -> BatchConfig:
    """
    Raises:
        ConfigError: there is no batch, or not one that this rlm knows.
    """
    try:
        data = files.read(path / CONFIG)
    except OSError:
        raise ConfigError(f"{path} holds no batch: there is no {CONFIG} in it.") from None
    ((_, value),) = read_objects(data.replace(b"\n", b" "), str(path / CONFIG))
    return read_typed(value, BatchConfig, str(path / CONFIG))


class BatchFolder:
    """Owns a folder while a batch runs. `results` is where each result goes."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ConfigError: there is no batch.
            SessionError: another process works on it.
        """
        self.path = path
        self.config = read_config_file(path)
        with ExitStack() as opened:
            self._handle = files.open_folder(path)
            opened.callback(os.close, self._handle)
            lock = files.open_file(CONFIG, dir_fd=self._handle)
            opened.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SessionError(f"Another process works on the batch in {path}.") from None
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.close()

    def tasks(self) -> list[BatchTask]:
        """
        Raises:
            ConfigError: they cannot be read.
        """
        path = self.path / TASKS
        try:
            lines = read_objects(files.read(TASKS, dir_fd=self._handle), str(path))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
        return [read_typed(value, BatchTask, f"{path}, line {number}") for number, value in lines]

    def keep(self, good: Finished) -> list[TaskResult]:
        """The results that are good; all others are gone from the file.

        Raises:
            SessionError: it cannot be written.
        """
        try:
            return keep(self._handle, self.path / "results.jsonl", good)
        except OSError as error:
            raise SessionError(f"{self.path}: {error.strerror}.") from None

    def open_results(self) -> ResultsFile:
        """
        Raises:
            SessionError: it cannot be written.
        """
        try:
            return self._opened.enter_context(ResultsFile(self._handle))
        except OSError as error:
            raise SessionError(f"{self.path}: {error.strerror}.") from None

    def began(self, job: Job, session: Session) -> None:
        """Remember which session is whose: a batch that is killed may have it finished, and not its result."""
        line = {"id": job.task.id, "rollout": job.rollout, "session": session.id}
        flags = os.O_WRONLY | os.O_APPEND
        try:
            file = files.open_file(STARTED, flags, dir_fd=self._handle)
        except FileNotFoundError:
            file = files.create(STARTED, flags, dir_fd=self._handle)
        try:
            files.write_all(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)

    def sessions(self) -> dict[tuple[str, int], str]:
        """The newest session of each rollout that has begun."""
        try:
            lines = files.read(STARTED, dir_fd=self._handle).split(b"\n")
        except FileNotFoundError:
            return {}
        found = {}
        for line in lines:
            try:
                value = json.loads(line)
                found[str(value["id"]), int(value["rollout"])] = str(value["session"])
            except (ValueError, KeyError, TypeError):  # half a line
                continue
        return found

    def write_summary(self, expected: int, wall: float) -> dict[str, Any]:
        """Of all results, those of earlier runs too; `wall` are the seconds of this run.

        Raises:
            SessionError: it cannot be written.
        """
        earlier = self._earlier_wall()
        made = summary(read_results(self.path / "results.jsonl"), expected, earlier + wall)
        try:
            files.replace(SUMMARY, _json(made), dir_fd=self._handle)
        except OSError as error:
            raise SessionError(f"{self.path / SUMMARY} cannot be written: {error.strerror}.") from None
        return made

    def _earlier_wall(self) -> float:
        try:
            value = json.loads(files.read(SUMMARY, dir_fd=self._handle))
            return float(value["wall"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
