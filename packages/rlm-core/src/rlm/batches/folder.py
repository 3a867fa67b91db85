"""The folder of a batch: its configuration, its results, and a lock against other processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec.structs import replace as with_fields

from rlm.batches.config import BatchConfig, doubt, signed
from rlm.batches.results import NAME as RESULTS
from rlm.batches.results import ResultsFile, TaskResult, read_results
from rlm.batches.summary import summary
from rlm.batches.tasks import BatchTask, Job
from rlm.config.environment import state_folder
from rlm.errors import ConfigError, SessionError
from rlm.process import files
from rlm.sessions import Session
from rlm.sessions.signing_key import key_or_none
from rlm.text.json_lines import read_objects, read_typed

CONFIG, TASKS, STARTED, SUMMARY = "config.json", "tasks.jsonl", "started.jsonl", "summary.json"


def exists(path: Path) -> bool:
    """Whether a path holds a batch."""
    return (path / CONFIG).is_file()


def create(path: Path, config: BatchConfig, tasks: Iterable[BatchTask], beside: Mapping[str, bytes] = {}) -> None:
    """Create the folder, signed by this user. config.json is written last: without it there is no batch.

    Args:
        beside: more files, by their names.

    Raises:
        ConfigError: the folder cannot be created, holds results of another batch, or has other files with these names.
    """
    lines = b"".join(task.line() for task in tasks)
    value = signed(msgspec.to_builtins(config), lines, key_or_none(state_folder(), make=True))
    if os.path.lexists(path / RESULTS):
        raise ConfigError(f"{path} contains results of another batch: there is a {RESULTS} in it. Name another folder.")
    written = {**beside, TASKS: lines}
    try:
        folder = files.open_folder(path, make=True)
        try:
            for name, data in written.items():
                _check_free(path / name, data, folder)
            for name, data in written.items():
                files.replace(name, data, dir_fd=folder)
            files.replace(CONFIG, _json(value), dir_fd=folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _check_free(path: Path, data: bytes, folder: int) -> None:
    """Check that writing `data` would replace nothing else. The same data may exist, if an earlier process was killed.

    Raises:
        ConfigError: the file exists, with other content.
        OSError: the file cannot be read.
    """
    with suppress(FileNotFoundError):
        if files.read(path.name, dir_fd=folder) != data:
            raise ConfigError(f"{path} exists already and would be replaced. Name another folder.")


class BatchFolder:
    """Owns a folder while a batch runs. `results` is where each result goes."""

    def __init__(self, path: Path, *, trust: bool = False) -> None:
        """
        Raises:
            ConfigError: there is no batch; or, without `trust`, this user did not create it.
            SessionError: another process works on the batch.
        """
        self.path = path
        with ExitStack() as opened:
            self._handle = self._open()
            opened.callback(os.close, self._handle)
            lines = self._read(TASKS)
            value = self._read_config()
            self.doubt = doubt(value, lines, key_or_none(state_folder()))
            """The reason why the batch may not be this user's own; empty if it is."""
            if self.doubt and not trust:
                raise ConfigError(
                    f"You did not create the batch in {path} on this machine: {self.doubt}. Its results can be read; "
                    "`rlm batch --resume DIR --trust` lists what would run, then continues."
                )
            config = read_typed(value, BatchConfig, str(path / CONFIG))
            if self.doubt:  # MCP servers are programs, and would run outside of any sandbox
                config = with_fields(config, settings={k: v for k, v in config.settings.items() if k != "mcp"})
            self.config = config
            self.tasks = [
                read_typed(value, BatchTask, f"{path / TASKS}, line {number}")
                for number, value in read_objects(lines, str(path / TASKS))
            ]
            self._lock(opened)
            self._opened = opened.pop_all()

    def _open(self) -> int:
        try:
            return files.open_folder(self.path)
        except OSError as error:
            raise ConfigError(f"{self.path} does not contain a batch: {error.strerror}.") from None

    def _read(self, name: str) -> bytes:
        try:
            return files.read(name, dir_fd=self._handle)
        except FileNotFoundError:
            raise ConfigError(f"{self.path} does not contain a batch: there is no {name} in it.") from None
        except OSError as error:
            raise ConfigError(f"{self.path / name} cannot be read: {error.strerror}.") from None

    def _read_config(self) -> dict[str, Any]:
        one_line = self._read(CONFIG).replace(b"\n", b" ")
        for _, value in read_objects(one_line, str(self.path / CONFIG)):
            return value
        raise ConfigError(f"{self.path} does not contain a batch: {CONFIG} is empty.")

    def _lock(self, opened: ExitStack) -> None:
        lock = files.open_file(CONFIG, dir_fd=self._handle)
        opened.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SessionError(f"Another process is running the batch in {self.path}.") from None

    def adopt(self) -> None:
        """Sign a batch as this user's own, with the content that was read and that the user trusts.

        Raises:
            SessionError: the folder cannot be written, or another process has locked it first.
        """
        lines = b"".join(task.line() for task in self.tasks)
        value = signed(msgspec.to_builtins(self.config), lines, key_or_none(state_folder(), make=True))
        try:
            files.replace(TASKS, lines, dir_fd=self._handle)
            files.replace(CONFIG, _json(value), dir_fd=self._handle)
        except OSError as error:
            raise SessionError(f"{self.path} cannot be written: {error.strerror}.") from None
        self._lock(self._opened)  # the file was replaced

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._opened.close()

    def keep(self, good: Callable[[TaskResult], bool]) -> list[TaskResult]:
        """Keep only the good results in the file, each rollout once; return them.

        Raises:
            SessionError: the file cannot be written.
        """
        try:
            kept = {result.key: result for result in read_results(self.path / RESULTS) if good(result)}
            files.replace(RESULTS, b"".join(result.line() for result in kept.values()), dir_fd=self._handle)
        except OSError as error:
            raise SessionError(f"{self.path}: {error.strerror}.") from None
        return list(kept.values())

    def open_results(self) -> ResultsFile:
        """
        Raises:
            SessionError: the file cannot be written.
        """
        try:
            return self._opened.enter_context(ResultsFile(self._handle))
        except OSError as error:
            raise SessionError(f"{self.path}: {error.strerror}.") from None

    def began(self, job: Job, session: Session) -> None:
        """Record the session of a job: a killed batch may have a finished session without its result."""
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
        """The newest session of each rollout that has started."""
        try:
            lines = files.read(STARTED, dir_fd=self._handle).split(b"\n")
        except FileNotFoundError:
            return {}
        found = {}
        for line in lines:
            try:
                value = json.loads(line)
                found[str(value["id"]), int(value["rollout"])] = str(value["session"])
            except (ValueError, KeyError, TypeError):  # a partial line
                continue
        return found

    def write_summary(self, expected: int, wall: float, ended: int) -> dict[str, Any]:
        """Write the summary of all results, including those of earlier runs.

        This run took `wall` seconds; `ended` tasks ended in it.

        Raises:
            SessionError: the file cannot be written.
        """
        earlier = self._earlier_summary()
        rate = 60 * ended / wall if ended else earlier.get("tasks_per_minute")
        counts = summary(read_results(self.path / RESULTS), expected, earlier.get("wall", 0.0) + wall, rate)
        try:
            files.replace(SUMMARY, _json(counts), dir_fd=self._handle)
        except OSError as error:
            raise SessionError(f"{self.path / SUMMARY} cannot be written: {error.strerror}.") from None
        return counts

    def _earlier_summary(self) -> dict[str, float]:
        """The values of the earlier summary that are still needed."""
        try:
            value = json.loads(files.read(SUMMARY, dir_fd=self._handle))
            return {name: float(value[name]) for name in ("wall", "tasks_per_minute") if value[name] is not None}
        except (OSError, ValueError, KeyError, TypeError):
            return {}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
