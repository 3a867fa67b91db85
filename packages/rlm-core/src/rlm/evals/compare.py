"""Runs each task in each arm, on the user's own model.

The runs are the tasks of a batch, so an evaluation can be resumed as a batch can.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from rlm.batches.executors import Executor
from rlm.batches.results import TaskResult
from rlm.batches.tasks import BatchTask, Job, Started
from rlm.errors import ConfigError
from rlm.evals.tasks import EvalTask, read_tasks, score
from rlm.process import files

Arm = Literal["plain", "single", "rlm"]
ARMS: dict[Arm, str] = {
    "plain": "one model call, the context in its prompt",
    "single": "an agent without sub-agents, the context as a variable",
    "rlm": "an agent that may have sub-agents, the context as a variable",
}
EXPECTED = "expected.jsonl"
"""A file in the folder of the batch: the tasks with their expected answers, without their contexts."""


class EvalRun(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of a run in the batch: its task and its arm."""

    task: str | int
    arm: Arm


class EvalResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one arm for one task.

    `cost` is in US dollars, if the price is known; `tokens` counts new tokens.
    """

    id: str | int
    arm: Arm
    score: float
    stop: str
    seconds: float
    tokens: int
    cost: float | None
    agents: int
    size: int | None
    answer: str
    error: str
    session: str


def runs_of(tasks: Iterable[EvalTask], arms: Sequence[Arm], depth: int) -> list[BatchTask]:
    """The runs of all tasks, as tasks of a batch. `depth` is the depth of the arm `rlm`."""
    return [_run_of(task, arm, depth) for task in tasks for arm in arms]


def _run_of(task: EvalTask, arm: Arm, depth: int) -> BatchTask:
    assert task.id is not None, "a task that was read has one"
    id, metadata = f"{task.id} {arm}", msgspec.to_builtins(EvalRun(task=task.id, arm=arm))
    if arm == "plain":
        text = task.prompt if task.context is None else f"{task.prompt}\n\n{task.context}"
        return BatchTask(id=id, prompt=text, tools=[], max_depth=0, metadata=metadata)
    deep = 0 if arm == "single" else depth
    return BatchTask(id=id, prompt=task.prompt, context=task.context, max_depth=deep, metadata=metadata)


def without_contexts(tasks: Iterable[EvalTask]) -> bytes:
    """The content of expected.jsonl."""
    bare = (msgspec.structs.replace(task, context=None) for task in tasks)
    return "".join(json.dumps(msgspec.to_builtins(task)) + "\n" for task in bare).encode()


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores results against the expected answers."""

    tasks: Mapping[str, EvalTask]
    """The tasks by their ids, as texts."""

    @classmethod
    def of_folder(cls, path: Path) -> Judge:
        """
        Raises:
            ConfigError: the folder holds no evaluation.
        """
        try:
            tasks = read_tasks(files.read(path / EXPECTED), EXPECTED)
        except OSError:
            raise ConfigError(f"{path} does not contain an evaluation: there is no {EXPECTED} in it.") from None
        return cls({str(task.id): task for task in tasks})

    def judge(self, result: TaskResult) -> EvalResult:
        """Score a result; a failed one scores 0.

        Raises:
            ConfigError: the result belongs to another batch.
        """
        run = _run(result)
        task, failed = self.tasks.get(str(run.task)), result.status == "error"
        if task is None:
            raise ConfigError(f"The task {run.task} is not in {EXPECTED}.")
        return EvalResult(
            id=run.task,
            arm=run.arm,
            score=0.0 if failed else score(task, result.answer),
            stop="error" if failed else str(result.stop_reason),
            seconds=result.duration,
            tokens=result.usage.usage.new_tokens,
            cost=result.cost,
            agents=result.agents,
            size=task.size,
            answer=result.answer,
            error=result.error if failed else "",
            session=Path(result.session_dir).name if result.session_dir else "",
        )


def _run(run: BatchTask | TaskResult) -> EvalRun:
    try:
        return msgspec.convert(run.metadata, EvalRun)
    except msgspec.ValidationError:
        raise ConfigError(f"{run.id} belongs to a batch, not to an evaluation.") from None


def arms_of(runs: Iterable[BatchTask]) -> list[Arm]:
    """The arms that a batch compares, in the order of `ARMS`.

    Raises:
        ConfigError: the batch is no evaluation.
    """
    found = {_run(run).arm for run in runs}
    return [arm for arm in ARMS if arm in found]


@dataclass(frozen=True, slots=True)
class ScoringExecutor:
    """An executor that sets the score of each result as its reward."""

    executor: Executor
    judge: Judge

    async def run(self, jobs: Iterable[Job], started: Started) -> AsyncGenerator[TaskResult]:
        async with aclosing(self.executor.run(jobs, started)) as results:
            async for result in results:
                yield msgspec.structs.replace(result, reward=self.judge.judge(result).score)
