"""Executors run tasks: `HereExecutor` in this process, `rlm.batches.ray_executor` on a cluster.

`executor_for` chooses one by its name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from importlib.util import find_spec
from typing import Any, Protocol

from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job, Started
from rlm.batches.work import BatchSettings, TaskWorker
from rlm.errors import ConfigError
from rlm.host.host import Host


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


# ---- the choice of an executor

_REACHED = 10.0  # seconds for a connection to a cluster


def check_executor(wanted: str, address: str = "") -> None:
    """
    Raises:
        ConfigError: it is not installed, or no cluster listens at this address.
    """
    if wanted != "ray":
        return
    _check_address(address)
    if find_spec("ray") is None:
        raise ConfigError("`--executor ray` needs ray: install rlm with its extra `ray`.")


def _check_address(address: str) -> None:
    """Connect to HOST:PORT once. Ray itself would try for a quarter of an hour."""
    if "://" in address:
        raise ConfigError(
            f"--address {address} is for Ray's client. Name the cluster itself: HOST:PORT, most often 6379."
        )
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return  # `auto`, for one
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"The Ray cluster {address} cannot be reached: {getattr(error, 'strerror', None) or error}."
        ) from None


def executor_for(wanted: str | Executor, settings: BatchSettings, concurrency: int, address: str = "") -> Executor:
    """Return the executor with this name. `address` is the address of a Ray cluster; empty: a cluster is started here.

    Raises:
        ConfigError: there is no such executor, or it is not installed.
    """
    if concurrency < 1:
        raise ConfigError(f"{concurrency} tasks at once are not allowed: it takes a whole number, at least 1.")
    if not isinstance(wanted, str):
        return wanted
    if wanted == "here":
        return HereExecutor(settings, concurrency)
    if wanted == "ray":
        check_executor(wanted, address)
        from rlm.batches.ray_executor import RayExecutor

        return RayExecutor(settings, concurrency, address)
    raise ConfigError(f"There is no executor {wanted!r}. There are: here, ray.")
