"""Tasks on the workers of a Ray cluster. A worker that is lost costs the tasks that it had a try, and no result."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec.structs import replace as with_fields

from rlm.batches.executors import Started
from rlm.batches.ray_gate import load_ray, open_gate
from rlm.batches.ray_sessions import unpack
from rlm.batches.ray_worker import SECRETS, RayWorker, WorkerSettings, masked_endpoint
from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job
from rlm.batches.work import BatchSettings, failed
from rlm.errors import ConfigError, RlmError
from rlm.text.clip import one_line
from rlm.text.json_lines import read_typed
from rlm.version import VERSION

TRIES = 4
"""Of a task whose worker is lost."""
_PAUSE = 0.5  # seconds between two looks at a worker that is being started again
_LOST = 120.0  # seconds in which a worker that fails again and again is given up
_PARTING = 10.0  # seconds in which workers close what they have
_LONGEST = 300  # characters of an error of Ray's


@dataclass(slots=True)
class _Work:
    """What is left, shared by all slots."""

    jobs: Iterator[Job]
    again: deque[Job] = field(default_factory=deque)
    """Those whose worker was lost."""
    tries: Counter[tuple[str, int]] = field(default_factory=Counter)
    running: int = 0

    def next(self) -> Job | None:
        return self.again.popleft() if self.again else next(self.jobs, None)


class RayExecutor:
    """Owns its workers. The cluster is the one at `address`, or one that is started here and ends with this process."""

    def __init__(self, settings: BatchSettings, concurrency: int, address: str = "") -> None:
        """
        Raises:
            ConfigError: Ray is not installed.
        """
        self._ray = load_ray()
        self._settings = settings
        self._concurrency = concurrency
        self._address = address
        self._gate: Any = None
        self._results: asyncio.Queue[TaskResult | BaseException | None] = asyncio.Queue()

    async def run(self, jobs: Iterable[Job], started: Started) -> AsyncGenerator[TaskResult]:
        await asyncio.to_thread(self._connect)
        work = _Work(iter(jobs))
        workers: list[Any] = []
        slots: list[asyncio.Task[None]] = []
        try:
            workers += self._start_workers()
            slots += [
                asyncio.create_task(self._slot(workers[n % len(workers)], work, started))
                for n in range(self._concurrency)
            ]
            everything = asyncio.create_task(self._finish(tuple(slots)))
            slots.append(everything)
            while (result := await self._results.get()) is not None:
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            for slot in slots:
                slot.cancel()
            await self._end(workers)

    # ---- the cluster

    def _connect(self) -> None:
        """In a thread: it takes seconds, and must not take our signals over.

        Raises:
            ConfigError: there is no cluster.
        """
        if self._ray.is_initialized():
            return
        connection = {"address": self._address or "local", "log_to_driver": False, "logging_level": "ERROR"}
        if not self._address:
            connection |= {"include_dashboard": False}
        try:
            self._ray.init(**connection)
        except Exception as error:
            raise ConfigError(f"The Ray cluster {self._address or 'here'} is out of reach: {_said(error)}") from error

    def _start_workers(self) -> list[Any]:
        config = self._settings.config
        noise, mask = masked_endpoint(config)
        self._gate = open_gate()
        processors = int(self._ray.cluster_resources().get("CPU", 1))
        count = max(1, min(self._concurrency, processors))
        kind = self._ray.remote(RayWorker).options(
            num_cpus=1,
            max_restarts=-1,
            max_concurrency=self._concurrency + 8,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": {SECRETS: noise}},
        )
        shared = WorkerSettings.of(self._settings, mask)
        return [kind.remote(shared, self._gate) for _ in range(count)]

    async def _end(self, workers: list[Any]) -> None:
        closing = [worker.close.remote() for worker in workers]
        with suppress(Exception):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), _PARTING)
        for worker in workers:
            with suppress(Exception):
                self._ray.kill(worker, no_restart=True)
        if not self._address:
            await asyncio.to_thread(self._ray.shutdown)

    # ---- the work

    async def _finish(self, slots: tuple[asyncio.Task[None], ...]) -> None:
        """Wait for all slots, which end when nothing is left; the first failure ends all."""
        try:
            await asyncio.gather(*slots)
        except Exception as error:  # noqa: BLE001 - whoever reads the results raises it
            await self._results.put(error)
        else:
            await self._results.put(None)

    async def _slot(self, worker: Any, work: _Work, started: Started) -> None:
        """One task after the other on one worker, as long as there are any."""
        while True:
            holder = await self._holder(worker, work)
            while holder is not None:
                job = work.next()
                if job is None:
                    if not work.running:
                        return
                    await asyncio.sleep(_PAUSE)  # a task that runs elsewhere may come back
                    continue
                started(job)
                work.running += 1
                try:
                    if not await self._try(worker, job, work):
                        self._gate.forget.remote(holder)
                        break
                finally:
                    work.running -= 1
            if holder is None:
                return

    async def _holder(self, worker: Any, work: _Work) -> str | None:
        """Wait until the worker is there, and who it is to the gate; None if nothing is left to do meanwhile.

        Raises:
            ConfigError: another rlm is installed there.
            RlmError: it does not start.
        """
        lost_since: float | None = None
        while True:
            asked = asyncio.ensure_future(_awaited(worker.ready.remote()))
            while not asked.done():
                await asyncio.wait([asked], timeout=_PAUSE)
                if not asked.done() and not work.running and not work.again and self._exhausted(work):
                    asked.cancel()
                    return None
            try:
                holder, version = asked.result()
            except self._ray.exceptions.RayActorError as error:
                now = asyncio.get_running_loop().time()
                lost_since = lost_since or now
                if error.actor_init_failed or now > lost_since + _LOST:
                    raise RlmError(f"A Ray worker does not start: {_said(error)}") from None
                await asyncio.sleep(_PAUSE)
                continue
            if version != VERSION:
                raise ConfigError(f"The workers have rlm {version}, and this is {VERSION}. Install the same.")
            return str(holder)

    @staticmethod
    def _exhausted(work: _Work) -> bool:
        job = next(work.jobs, None)
        if job is not None:
            work.again.append(job)
        return job is None

    async def _try(self, worker: Any, job: Job, work: _Work) -> bool:
        """Whether the worker is still there. The result is put, unless the task is to be tried again."""
        call = worker.work.remote(replace(job, session=None).task.line(), job.rollout)
        try:
            line, archive = await _awaited(call)
        except asyncio.CancelledError:
            self._ray.cancel(call)
            raise
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RlmError):
                raise cause from None  # none of the tasks can be worked on
            await self._results.put(failed(job, _said(error)))
            return True
        except self._ray.exceptions.RayError as error:
            work.tries[job.key] += 1
            if work.tries[job.key] < TRIES:
                work.again.append(job)
            else:
                await self._results.put(failed(job, f"the worker was lost {TRIES} times: {_said(error)}"))
            return not isinstance(error, self._ray.exceptions.RayActorError)
        await self._results.put(await asyncio.to_thread(self._received, line, archive))
        return True

    def _received(self, line: bytes, archive: bytes) -> TaskResult:
        result = read_typed(json.loads(line), TaskResult, "result of a worker")
        if not archive:
            return result
        return with_fields(result, session_dir=str(unpack(archive, self._settings.config.home.absolute())))


async def _awaited(reference: Any) -> Any:
    return await reference


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[-1] if isinstance(error, ConfigError) else lines[0], _LONGEST)
