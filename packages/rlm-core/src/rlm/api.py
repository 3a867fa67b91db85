"""The SDK, and `rlm.run` in a cell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm.config.environment import broker_address
from rlm.config.settings import read_config
from rlm.core.exit_codes import INTERRUPTED, of_error, of_stop
from rlm.core.result import RunResult
from rlm.errors import AgentError, ConfigError, RlmError

if TYPE_CHECKING:
    from rlm.host.run import AgentSpec, Watch
    from rlm.sessions import Session

_NOT_GIVEN: Any = object()


async def run(
    task: str,
    *,
    model: str | None = None,
    tools: Sequence[str] | None = None,
    max_turns: int | None = None,
    context: object = _NOT_GIVEN,
    cwd: str | Path | None = None,
    system_prompt: str | None = None,
    timeout: float | None = None,
) -> RunResult:
    """Run an agent on `task` and wait for its answer. Cancelling this cancels the agent.

    In a cell it is a child of the cell's agent, and what is not given is as its parent has it. Elsewhere it is a root
    of its own, and what is not given is as the environment says.

    Args:
        task: what to do; the agent's user message, word for word.
        model: its name.
        tools: names of tools; `()` makes it one plain model call, without a kernel.
        max_turns: model calls at most.
        context: any picklable object; the agent finds it in its kernel as `context`.
        cwd: its working directory.
        system_prompt: replaces the built-in one.
        timeout: seconds until it is cancelled.

    Raises:
        AgentError: in a cell, when the child failed or was refused.
        RlmError: elsewhere, when the run failed; with `session_dir` and `usage`, if it had begun.
    """
    _needs_asyncio()
    options = _texts(tools, cwd, model=model, max_turns=max_turns, system_prompt=system_prompt, timeout=timeout)
    call = _ApiCall(_given(task), options, context)
    return await (call.as_root() if broker_address() is None else call.as_child())


async def stream(
    task: str,
    *,
    model: str | None = None,
    tools: Sequence[str] | None = None,
    max_turns: int | None = None,
    context: object = _NOT_GIVEN,
    cwd: str | Path | None = None,
    system_prompt: str | None = None,
    timeout: float | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """Run an agent as `run` does, and yield the records of its whole tree as they happen.

    The records are those of `rlm --json --deltas`; docs/sessions.md has them. Leaving the loop early cancels the run.

    Raises:
        RlmError: the run failed, or could not begin; the last record says so too.
    """
    _needs_asyncio()
    if broker_address() is not None:
        raise AgentError("rlm.stream is for programs; in a cell use rlm.run")
    options = _texts(tools, cwd, model=model, max_turns=max_turns, system_prompt=system_prompt, timeout=timeout)
    call = _ApiCall(_given(task), options, context)
    records: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    running = asyncio.ensure_future(call.as_root(records.put_nowait))
    running.add_done_callback(lambda _: records.put_nowait(None))
    try:
        while (record := await records.get()) is not None:
            yield record
        await running
    finally:
        running.cancel()
        await asyncio.wait({running})


def _needs_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RlmError(
            "rlm runs on asyncio, and no asyncio loop runs here. Under trio or another library, call it in a thread: "
            "asyncio.run(rlm.run(...))."
        ) from None


def _given(task: object) -> str:
    if not isinstance(task, str):
        raise ConfigError(f"The task is a {type(task).__name__}. It must be a text.")
    if not task.strip():
        raise ConfigError("The task is empty.")
    return task


def _texts(tools: Sequence[str] | None, cwd: str | Path | None, **others: object) -> dict[str, str]:
    """The arguments as settings are written, without those that are None. A relative `cwd` is relative to ours."""
    texts = {name: str(value) for name, value in others.items() if value is not None}
    if tools is not None:
        texts["tools"] = tools if isinstance(tools, str) else ",".join(tools)
    if cwd is not None:
        texts["cwd"] = str(Path(cwd).absolute())
    return texts


def _with_session(error: RlmError, session: Session | None) -> RlmError:
    if session is not None:
        error.session_dir, error.usage = session.folder, session.tree_usage
    return error


@dataclass(frozen=True, slots=True)
class _ApiCall:
    task: str
    options: dict[str, str]
    context: object = field(default=_NOT_GIVEN)

    async def as_root(self, watch: Watch | None = None) -> RunResult:
        """A tree of its own. The last that `watch` sees is how it ended, also where it could not begin."""
        from rlm.sessions.metrics import no_result

        session: Session | None = None

        def begun(made: Session | None) -> None:
            nonlocal session
            session = made

        ended: dict[str, Any] = {"exit_code": INTERRUPTED}
        try:
            result = await self._run(watch, begun)
            ended = {"exit_code": of_stop(result.stop)}
            return result
        except RlmError as error:
            ended = {"exit_code": of_error(error), "error": str(error)}
            raise _with_session(error, session) from None
        finally:
            if watch is not None:
                watch((session.result() if session else no_result()) | ended)

    async def _run(self, watch: Watch | None, begun: Callable[[Session | None], None]) -> RunResult:
        from rlm.broker.payload import pack
        from rlm.host.run import open_run

        order = self._order()
        async with open_run(order.config, watch=watch, stream=watch is not None) as tree:
            if self.context is not _NOT_GIVEN:
                order = replace(order, context=pack(self.context, tree.shared.folder))
            try:
                return await tree.run(order)
            finally:
                begun(tree.session)

    def _order(self) -> AgentSpec:
        from rlm.host.run import AgentSpec

        return AgentSpec("", read_config({}), Path.cwd()).but(self.task, self.options)

    async def as_child(self) -> RunResult:
        """A child of the agent whose cell this runs in."""
        from rlm.broker.client import ask
        from rlm.broker.payload import pack
        from rlm.broker.protocol import SpawnRequest

        address = broker_address()
        assert address is not None, "only a cell has children"
        path, token = address
        if self.context is _NOT_GIVEN:
            return await ask(path, SpawnRequest(token, self.task, self.options))
        parcel = pack(self.context, Path(path).parent)
        request = SpawnRequest(token, self.task, self.options, parcel.path.name, parcel.kind, parcel.about)
        return await ask(path, request)
