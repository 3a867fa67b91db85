"""Runs the unfinished tasks of a batch's folder, and writes their results."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rlm.batches.config import BatchConfig
from rlm.batches.executors import Executor
from rlm.batches.folder import BatchFolder
from rlm.batches.recovery import ended_session
from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job, jobs_of
from rlm.batches.work import BatchSettings
from rlm.batches.workdirs import Workdirs
from rlm.config.environment import state_folder
from rlm.config.settings import Config
from rlm.config.sources import recorded_settings
from rlm.errors import ConfigError
from rlm.process import files
from rlm.sessions.signing_key import key_or_none


class BatchWatcher(Protocol):
    """Watches a batch."""

    def begin(self, kept: list[TaskResult], expected: int) -> None:
        """The batch begins. `kept`: results of earlier runs; `expected`: how many rollouts there are in all."""
        ...

    def started(self, job: Job) -> None:
        """A rollout starts."""
        ...

    def ended(self, result: TaskResult) -> None:
        """A rollout has ended, and its result is on disk."""
        ...


class Batch:
    """Owns the run of a batch. `summary` is set when `run` has ended."""

    def __init__(self, folder: BatchFolder, config: Config, *, retry_failed: bool = False) -> None:
        """
        Args:
            folder: an open folder.
            config: the settings of this run.
            retry_failed: also run tasks again that ended at a limit or failed verification.
        """
        self.summary: dict[str, Any] = {}
        self._folder = folder
        self._config = replace(config, home=files.resolve(folder.path))
        self._retry_failed = retry_failed

    def settings(self) -> BatchSettings:
        """The settings for an executor.

        Raises:
            ConfigError: the folder that is copied for each task does not exist.
        """
        batch = self._folder.config
        workdirs = None
        if batch.workdir_from is not None:
            source = _existing(batch.workdir_from)
            home = self._config.home
            workdirs = Workdirs(source, home / "work", keep=not batch.discard_workdirs)
        return BatchSettings(
            self._config,
            _existing(batch.cwd),
            workdirs,
            batch.atif,
            batch.setup,
            batch.verify,
            self._folder.began,
        )

    async def run(self, executor: Executor, watcher: BatchWatcher) -> AsyncGenerator[TaskResult]:
        """Run the unfinished tasks, and yield each result when it is on disk. Existing results are not yielded.

        Raises:
            RlmError: no task can be worked on, or results cannot be written.
        """
        began, ended = time.monotonic(), 0
        rollouts, tasks = self._folder.config.rollouts, self._folder.tasks
        expected = len(tasks) * rollouts
        kept = self._folder.keep(self._is_good)
        watcher.begin(kept, expected)
        done = {result.key for result in kept}
        missing = (job for job in jobs_of(tasks, rollouts) if job.key not in done)
        file = self._folder.open_results()
        results = executor.run(self._with_sessions(missing), watcher.started)
        try:
            async with aclosing(results):
                async for result in results:
                    file.append(result)
                    ended += 1
                    watcher.ended(result)
                    yield result
        finally:
            self.summary = self._folder.write_summary(expected, time.monotonic() - began, ended)

    def _is_good(self, result: TaskResult) -> bool:
        if self._retry_failed:
            return result.ok and result.passed
        return result.status != "error"

    def _with_sessions(self, jobs: Iterator[Job]) -> Iterator[Job]:
        """Add to each job the session that an earlier run finished without writing its result."""
        if self._retry_failed or not (known := self._folder.sessions()):
            yield from jobs
            return
        key = key_or_none(state_folder())
        for job in jobs:
            id = known.get(job.key)
            session = ended_session(self._config.home, id, key) if id else None
            yield replace(job, session=session) if session else job


def new_config(config: Config, cwd: Path, tasks: str, **options: Any) -> BatchConfig:
    """The config.json of a new batch."""
    return BatchConfig(settings=recorded_settings(config), cwd=str(files.resolve(cwd)), tasks=tasks, **options)


def _existing(folder: str) -> Path:
    try:
        path = files.resolve(folder)
    except OSError:
        path = Path(folder)
    if not path.is_dir():
        raise ConfigError(f"The batch needs the folder {folder}, which no longer exists.")
    return path
