"""Runs tasks on the workers of a Ray cluster.

If a worker is lost, each of its tasks loses one try, and no result is lost.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec.structs import replace as with_fields

from rlm.batches.ray_gate import load_ray, open_gate
from rlm.batches.ray_sessions import unpack
from rlm.batches.ray_worker import SECRETS, RayWorker, WorkerSettings, masked_endpoint
from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job, Started
from rlm.batches.work import BatchSettings, failed
from rlm.errors import ConfigError, RlmError
from rlm.text.clip import one_line
from rlm.text.json_lines import read_typed
from rlm.version import VERSION

TRIES = 4
"""Tries of a task whose worker is lost."""
_PAUSE = 0.5  # seconds between two checks of a worker that is restarting
_LOST = 120.0  # seconds after which a worker that fails repeatedly is given up
_PARTING = 10.0  # seconds that workers have to close
_LONGEST = 300  # maximum characters of a Ray error


@dataclass(slots=True)
class _Work:
    """The remaining jobs, shared by all slots."""

    jobs: Iterator[Job]
    again: deque[Job] = field(default_factory=deque)
    """Jobs whose worker was lost."""
    tries: Counter[tuple[str, int]] = field(default_factory=Counter)
    running: int = 0

    def next(self) -> Job | None:
        """The next job; None if none is left."""
        return self.again.popleft() if self.again else next(self.jobs, None)

    def is_over(self) -> bool:
        """Whether no job is left, and none runs that may return to the queue."""
        if self.running or self.again:
            return False
        if (job := next(self.jobs, None)) is not None:
            self.again.append(job)
        return job is None


class RayExecutor:
    """Owns its workers. The cluster is at `address`, or it is started here and ends with this process."""

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
        """Connect to the cluster. Runs in a thread: it takes seconds, and must not install signal handlers.

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
            raise ConfigError(f"The Ray cluster {self._address or 'here'} {_why_not(error)}") from error

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

    # ---- running of tasks

    async def _finish(self, slots: tuple[asyncio.Task[None], ...]) -> None:
        """Wait for all slots, which end when no job is left. The first failure ends all of them."""
        try:
            await asyncio.gather(*slots)
        except Exception as error:  # noqa: BLE001 - the reader of the results raises it
            await self._results.put(error)
        else:
            await self._results.put(None)

    async def _slot(self, worker: Any, work: _Work, started: Started) -> None:
        """Run one task after the other on one worker, while there are any."""
        while True:
            holder = await self._holder(worker, work)
            while holder is not None:
                job = work.next()
                if job is None:
                    if not work.running:
                        return
                    await asyncio.sleep(_PAUSE)  # a task on another worker may return to the queue
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
        """Wait until the worker is ready; return its name for the gate. None if meanwhile no job is left.

        Raises:
            ConfigError: the worker has another version of rlm.
            RlmError: the worker does not start.
        """
        lost_since: float | None = None
        while True:
            asked = asyncio.ensure_future(_awaited(worker.ready.remote()))
            while not asked.done():
                await asyncio.wait([asked], timeout=_PAUSE)
                if not asked.done() and work.is_over():
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
                raise ConfigError(
                    f"The workers have rlm {version}; this machine has {VERSION}. Install the same version."
                )
            return str(holder)

    async def _try(self, worker: Any, job: Job, work: _Work) -> bool:
        """Run a job; return whether the worker still exists.

        The result is queued, unless the job must be tried again.
        """
        call = worker.work.remote(replace(job, session=None).task.line(), job.rollout)
        try:
            line, archive = await _awaited(call)
        except asyncio.CancelledError:
            self._ray.cancel(call)
            raise
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RlmError):
                raise cause from None  # no task can be worked on
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


def _why_not(error: Exception) -> str:
    """Newer versions of Ray say only in the cause that it is the token."""
    if "AuthenticationError" in f"{type(error)}{error.__cause__}":
        return "refuses the token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the file that has it."
    return f"cannot be reached: {_said(error)}"


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[-1] if isinstance(error, ConfigError) else lines[0], _LONGEST)
