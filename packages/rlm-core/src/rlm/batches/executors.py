"""Executors run tasks: `HereExecutor` in this process, `rlm.batches.ray_executor` on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import Any, Protocol

from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job
from rlm.batches.work import BatchSettings, TaskWorker
from rlm.host.host import Host

Started = Callable[[Job], None]


class Executor(Protocol):
    """Runs jobs and yields each result when it is ready. Closing the generator cancels the running jobs.

    A job is only taken from the iterable when a slot is free, so the iterable may be long, and slow.
    """

    def run(self, jobs: Iterable[Job], started: Started) -> AsyncGenerator[TaskResult]:
        """
        Raises:
            RlmError: no task can be worked on. An error of one task is in its result.
        """
        ...


class HereExecutor:
    """Runs all tasks on one host: one event loop, one process that forks kernels, one limit of requests."""

    def __init__(self, settings: BatchSettings, concurrency: int) -> None:
        self._settings = settings
        self._concurrency = concurrency

    async def run(self, jobs: Iterable[Job], started: Started) -> AsyncGenerator[TaskResult]:
        config = self._settings.config
        async with Host(config) as host:
            await host.check(config)
            worker = TaskWorker(host, self._settings)

            async def work(job: Job) -> TaskResult:
                started(job)
                return await worker.work(job)

            async with aclosing(at_once(work, iter(jobs), self._concurrency)) as results:
                async for result in results:
                    yield result


async def at_once(
    work: Callable[[Job], Coroutine[Any, Any, TaskResult]], jobs: Iterator[Job], most: int
) -> AsyncGenerator[TaskResult]:
    """Yield the results of `work` when they are ready, with at most `most` running at once.

    The first exception ends all.
    """
    running: set[asyncio.Task[TaskResult]] = set()
    ended: asyncio.Queue[asyncio.Task[TaskResult]] = asyncio.Queue()
    try:
        while True:
            while len(running) < most and (job := next(jobs, None)) is not None:
                task = asyncio.create_task(work(job))
                task.add_done_callback(ended.put_nowait)
                running.add(task)
            if not running:
                return
            done = await ended.get()
            running.discard(done)
            yield done.result()
    finally:
        for each in running:
            if not each.cancelling():  # a task that is already ending keeps its grace period
                each.cancel()
        if running:
            await asyncio.wait(running)
