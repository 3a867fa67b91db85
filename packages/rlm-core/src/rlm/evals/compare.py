"""Each task by each arm, on the user's own model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rlm.config.settings import Config
from rlm.core.messages import Usage
from rlm.core.task import NOT_GIVEN
from rlm.errors import ConfigError, CredentialsError, RlmError
from rlm.evals.tasks import EvalTask, score
from rlm.host.host import Host

Arm = Literal["plain", "single", "rlm"]
ARMS: dict[Arm, str] = {
    "plain": "one model call, the context in its prompt",
    "single": "an agent without sub-agents, the context as a variable",
    "rlm": "an agent that may have sub-agents, the context as a variable",
}


class EvalResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one arm made of one task. `cost` is in US dollars, where the price is known; `tokens` are new ones."""

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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, and on which settings."""

    config: Config
    tasks: Sequence[EvalTask]
    arms: Sequence[Arm]
    jobs: int
    """Runs at once."""

    async def run(self) -> AsyncGenerator[EvalResult]:
        """The results as they come. What is the fault of one task is its score 0, with the error.

        Raises:
            ConfigError, CredentialsError: nothing can be asked.
        """
        slots = asyncio.Semaphore(self.jobs)
        async with Host(self.config) as host:
            runs = [
                asyncio.ensure_future(self._one(host, slots, task, arm)) for task in self.tasks for arm in self.arms
            ]
            try:
                for ended in asyncio.as_completed(runs):
                    yield await ended
            finally:
                for each in runs:
                    each.cancel()
                await asyncio.gather(*runs, return_exceptions=True)

    async def _one(self, host: Host, slots: asyncio.Semaphore, task: EvalTask, arm: Arm) -> EvalResult:
        async with slots:
            began = time.monotonic()
            answer, stop, error, usage, session = "", "error", "", Usage(), None
            try:
                result = await host.run(**self._call(task, arm))
                answer, stop, usage, session = result.answer, str(result.stop), result.usage, result.session_dir
            except (ConfigError, CredentialsError):
                raise
            except RlmError as failed:
                error, usage, session = str(failed), failed.usage or Usage(), failed.session_dir
            assert task.id is not None
            return EvalResult(
                id=task.id,
                arm=arm,
                score=score(task, answer),
                stop=stop,
                seconds=round(time.monotonic() - began, 3),
                tokens=usage.new_tokens,
                cost=usage.cost,
                agents=sum(1 for _ in session.glob("**/meta.json")) if session else 0,
                size=task.size,
                answer=answer,
                error=error,
                session=session.name if session else "",
            )

    def _call(self, task: EvalTask, arm: Arm) -> dict[str, Any]:
        if arm == "plain":
            text = task.prompt if task.context is None else f"{task.prompt}\n\n{task.context}"
            return {"task": text, "tools": (), "max_depth": 0}
        depth = 0 if arm == "single" else max(1, self.config.max_depth)
        context = NOT_GIVEN if task.context is None else task.context
        return {"task": task.prompt, "context": context, "max_depth": depth}
