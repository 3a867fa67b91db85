"""Tasks, and the files that contain them. A whole file is checked before any task runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from rlm.batches.tables import read_file, read_table
from rlm.config.settings import Config
from rlm.config.sources import read_folder, with_values
from rlm.core.task import check_task
from rlm.errors import ConfigError, CredentialsError
from rlm.host.answers import AnswerSchema
from rlm.host.factories import NO_KEY, has_endpoint
from rlm.text.json_lines import read_objects, read_typed, unique

_SETTINGS = ("model", "tools", "max_turns", "max_depth", "timeout")
_VARIABLE = re.compile(r"[^=\0]+")
_PLAIN = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


class BatchTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task. Settings that it does not name are those of the batch."""

    id: str | int
    prompt: str
    cwd: str | None = None
    context: Any = None
    model: str | None = None
    tools: str | list[str] | None = None
    schema: dict[str, Any] | bool | None = None
    system_prompt: str | None = None
    env: dict[str, str] | None = None
    max_turns: int | None = None
    max_depth: int | None = None
    timeout: float | None = None
    setup: str | None = None
    """A shell command that runs in the working directory first. If it fails, the task fails."""
    verify: str | None = None
    """A shell command that runs there afterwards. Exit code 0 is reward 1, any other code reward 0."""
    metadata: Any = None
    """Copied to the result unchanged."""

    def settings(self, config: Config) -> Config:
        """`config` with the settings of the task.

        Raises:
            ConfigError: a value is not allowed.
        """
        named = {name: value for name in _SETTINGS if (value := getattr(self, name)) is not None}
        return with_values(config, named) if named else config

    def line(self) -> bytes:
        """The task as one line of JSON."""
        return json.dumps(msgspec.to_builtins(self), ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Job:
    """One try of a task. `rollout` counts from 0."""

    task: BatchTask
    rollout: int = 0
    session: Path | None = None
    """The session of an agent that has ended, if the batch was killed before it wrote the result."""

    @property
    def key(self) -> tuple[str, int]:
        """The id of the task, as text, and the number of the rollout."""
        return str(self.task.id), self.rollout

    @property
    def name(self) -> str:
        """A name that is valid for a folder."""
        id = str(self.task.id)
        plain = id if _PLAIN.fullmatch(id) else f"task-{sha256(id.encode()).hexdigest()[:16]}"
        return f"{plain}-{self.rollout}"


Started = Callable[[Job], None]
"""Is called with each job when it begins."""


def jobs_of(tasks: Iterable[BatchTask], rollouts: int) -> Iterator[Job]:
    """Yield all rollouts of one task, then those of the next."""
    return (Job(task, rollout) for task in tasks for rollout in range(rollouts))


def read_tasks(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, BatchTask]]:
    """Yield the tasks of a file with their positions. The file's name decides: JSON lines, CSV or Parquet.

    `columns` maps fields to columns with other names.

    Raises:
        ConfigError: a task is invalid; the message names its line, or its row in a Parquet file.
    """
    if path.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq"):
        rows = read_table(path, columns, [field.name for field in msgspec.structs.fields(BatchTask)])
    else:
        if columns:
            raise ConfigError(f"--map is for CSV and Parquet; {path.name} is read as JSON lines.")
        rows = ((f"{path.name}, line {number}", value) for number, value in read_objects(read_file(path), path.name))
    return ((where, read_typed(value, BatchTask, where)) for where, value in rows)


def check_tasks(
    tasks: Iterable[tuple[str, BatchTask]], config: Config, name: str, base: Path, *, copied: bool
) -> list[BatchTask]:
    """Check tasks, each with its position, and return them. See `check_one`.

    Raises:
        ConfigError: a task is invalid, two have the same id, or there are none.
    """
    found = list(tasks)
    unique((str(task.id), where) for where, task in found)
    for where, task in found:
        check_one(where, task, config, base, copied=copied)
    if not found:
        raise ConfigError(f"{name} contains no task.")
    return [task for _, task in found]


def check_one(where: str, task: BatchTask, config: Config, base: Path, *, copied: bool) -> None:
    """Check one task. A relative `cwd` is below `base`.

    If `base` is `copied` for each task, no other folder is allowed.

    Raises:
        ConfigError: a field is not allowed; the message begins with `where`.
        CredentialsError: there is no key and no endpoint.
    """
    try:
        check_task(task.prompt)
        if not has_endpoint(task.settings(config)):
            raise CredentialsError(NO_KEY)
        _check_environment(task.env or {})
        if task.cwd is not None:
            _check_folder(task.cwd, base, copied=copied)
        if task.schema is not None:
            AnswerSchema(task.schema)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_folder(cwd: str, base: Path, *, copied: bool) -> None:
    read_folder("cwd", base / cwd)
    if copied and (Path(cwd).is_absolute() or ".." in Path(cwd).parts):
        raise ConfigError(f"cwd={cwd!r} is not allowed: with --workdir-from it is a folder in the working copy.")


def _check_environment(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise ConfigError(f"env: {name!r} cannot be a variable with this value.")
        if name.startswith("RLM_"):
            raise ConfigError(f"env: {name} belongs to rlm; kernels get no such variables.")


def select_tasks(tasks: list[BatchTask], limit: int | None, shard: tuple[int, int]) -> list[BatchTask]:
    """The first `limit` tasks; of these every n-th, from the k-th on, for `shard` (k, n)."""
    number, shards = shard
    return tasks[:limit][number - 1 :: shards]
