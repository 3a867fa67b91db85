"""`rlm.batch`: run many tasks from a program."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack

from rlm.batches.batch import Batch, new_config
from rlm.batches.executors import Executor, executor_for
from rlm.batches.folder import BatchFolder, create, exists
from rlm.batches.results import TaskResult, read_results
from rlm.batches.tasks import BatchTask, Job, check_one, check_tasks, jobs_of, read_tasks
from rlm.batches.work import BatchSettings
from rlm.config.environment import broker_address
from rlm.config.settings import Config
from rlm.config.sources import FilePath, HostSettings, read_config
from rlm.errors import AgentError, ConfigError
from rlm.text.json_lines import read_typed

Tasks = FilePath | Iterable[str | Mapping[str, Any] | BatchTask]
ExecutorName = Literal["here", "ray"]
T = TypeVar("T")


def batch(
    tasks: Tasks,
    *,
    concurrency: int = 16,
    executor: ExecutorName | Executor = "here",
    output: FilePath | None = None,
    rollouts: int = 1,
    cwd: FilePath | None = None,
    **settings: Unpack[HostSettings],
) -> AsyncGenerator[TaskResult]:
    """Run an agent on each task, and yield each result when the task ends.

    Leaving the loop early cancels the tasks that still run.

    Args:
        tasks: a file as for `rlm batch`; or prompts; or tasks as dicts with the fields of docs/batch.md. A task is only
            taken when a slot is free, so an iterable may be long. A task without an id gets its number.
        concurrency: how many tasks run at once.
        executor: `here`, in this process; `ray`, on a Ray cluster; or your own object.
        output: a folder for results and sessions, as of `rlm batch -o`. If it holds a batch of the same tasks, that
            batch is resumed, and its existing results are yielded first.
        rollouts: how often each task runs.
        cwd: the working directory of tasks that name none.
        settings: the settings of docs/configuration.md by name; a task can override them.

    Raises:
        ConfigError: a task is not allowed; with a file or `output`, before anything runs.
        RlmError: no task can be worked on. An error of one task is in its result: see `ok` and `error`.
    """
    if broker_address() is not None:
        raise AgentError("rlm.batch works only in programs; in a cell use rlm.map")
    config = read_config({}, named=settings)
    place = Path.cwd() / (cwd or "")
    request = _Request(tasks, config, place, executor, concurrency, rollouts)
    return _in_own_task(_without_folder(request) if output is None else _in_folder(request, Path.cwd() / output))


@dataclass(frozen=True, slots=True)
class _Request:
    tasks: Tasks
    config: Config
    cwd: Path
    executor: ExecutorName | Executor
    concurrency: int
    rollouts: int

    def executor_on(self, settings: BatchSettings) -> Executor:
        return executor_for(self.executor, settings, self.concurrency)


async def _without_folder(request: _Request) -> AsyncGenerator[TaskResult]:
    tasks, config, cwd = request.tasks, request.config, request.cwd
    checked = iter(_all(request)) if isinstance(tasks, str | os.PathLike) else _each(tasks, config, cwd)
    executor = request.executor_on(BatchSettings(config, cwd))
    async with aclosing(executor.run(jobs_of(checked, request.rollouts), lambda _: None)) as results:
        async for result in results:
            yield result


async def _in_folder(request: _Request, path: Path) -> AsyncGenerator[TaskResult]:
    wanted = _all(request)
    if not exists(path):
        name = str(request.tasks) if isinstance(request.tasks, str | os.PathLike) else ""
        choices = {"rollouts": request.rollouts, "concurrency": request.concurrency}
        create(path, new_config(request.config, request.cwd, name, **choices), wanted)
    with BatchFolder(path) as folder:
        if [task.line() for task in folder.tasks] != [task.line() for task in wanted]:
            raise ConfigError(f"{path} contains a batch of other tasks. Name another folder.")
        batch = Batch(folder, request.config)
        for result in read_results(path / "results.jsonl"):
            if result.status != "error":
                yield result
        executor = request.executor_on(batch.settings())
        async with aclosing(batch.run(executor, Unwatched())) as results:
            async for result in results:
                yield result


class Unwatched:
    """Progress that is not shown."""

    def begin(self, kept: list[TaskResult], expected: int) -> None: ...
    def started(self, job: Job) -> None: ...
    def ended(self, result: TaskResult) -> None: ...


def _all(request: _Request) -> list[BatchTask]:
    tasks, config, cwd = request.tasks, request.config, request.cwd
    if isinstance(tasks, str | os.PathLike):
        path = Path(tasks)
        return check_tasks(read_tasks(path, {}), config, path.name, cwd, copied=False)
    return check_tasks(_numbered(tasks), config, "The list", cwd, copied=False)


def _each(tasks: Iterable[str | Mapping[str, Any] | BatchTask], config: Config, cwd: Path) -> Iterator[BatchTask]:
    for where, task in _numbered(tasks):
        check_one(where, task, config, cwd, copied=False)
        yield task


def _numbered(tasks: Iterable[str | Mapping[str, Any] | BatchTask]) -> Iterator[tuple[str, BatchTask]]:
    for number, each in enumerate(tasks, 1):
        where = f"task {number}"
        match each:
            case BatchTask():
                yield where, each
            case str():
                yield where, BatchTask(id=number, prompt=each)
            case Mapping():
                yield where, read_typed({"id": number, **each}, BatchTask, where)
            case _:
                raise ConfigError(f"{where} is a {type(each).__name__}. It must be a prompt or a dict.")


# ---- a generator that a loop may leave at any time, without closing it


async def _in_own_task(values: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Yield `values`, which a task of their own produces: the next value is computed when it is asked for.

    If a loop is left early, Python finalizes each generator of a chain by itself, in any order: an outer one while an
    inner one still runs. Here it finalizes only this one, and the task closes the chain from the inside out.
    """
    queue: asyncio.Queue[T | _End] = asyncio.Queue()
    producer = asyncio.create_task(_produce(values, queue))
    try:
        while not isinstance(value := await queue.get(), _End):
            yield value
            queue.task_done()
        await producer
    finally:
        if not producer.done() and not producer.cancelling():
            producer.cancel()
        await asyncio.wait({producer})


class _End:
    """Follows the last value."""


async def _produce(values: AsyncGenerator[T], queue: asyncio.Queue[T | _End]) -> None:
    try:
        async with aclosing(values):
            async for value in values:
                queue.put_nowait(value)
                await queue.join()  # until the next one is asked for
    finally:
        queue.put_nowait(_End())
