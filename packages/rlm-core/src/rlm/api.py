"""The short forms of the SDK, and `rlm.run` in a cell."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from rlm.config.environment import broker_address
from rlm.core.budget import Budget, Stop
from rlm.core.task import NOT_GIVEN, RunResult, check_task
from rlm.errors import AgentError, ConfigError, RlmError

if TYPE_CHECKING:
    from rlm.broker.protocol import ContextFile
    from rlm.config.sources import FilePath, HostSettings

T = TypeVar("T")
R = TypeVar("R")


async def run(
    task: str,
    *,
    context: object = NOT_GIVEN,
    cwd: FilePath | None = None,
    system_prompt: str | None = None,
    schema: object = None,
    isolation: Literal["worktree"] | None = None,
    **settings: Unpack[HostSettings],
) -> RunResult:
    """Run an agent on `task` and wait for its answer. Cancellation cancels the agent.

    In a cell it is a child of the cell's agent: it accepts the settings `model`, `tools`, `max_turns` and `timeout`,
    and takes all others from its parent. Elsewhere it is a root on a host of its own, and the environment has the
    defaults.

    Args:
        task: what to do; the agent's user message, word for word.
        context: any picklable object; the agent finds it in its kernel as `context`. Large data (arrays, frames,
            tables, bytes) is shared, not copied. A `pathlib.Path` of a file stands for the text in it.
        cwd: its working directory.
        system_prompt: replaces the built-in one.
        schema: the type of the answer: a pydantic model, a dataclass, any type that pydantic's TypeAdapter accepts, or
            a JSON Schema. The result's `value` has this type, and its `answer` is the JSON of it.
        isolation: in a cell, `worktree` lets the sub-agent work in its own git worktree. Its changes there are the
            `patch` of the result.
        settings: those of docs/configuration.md by name, such as `model`, `max_turns`, `timeout` (seconds), `sandbox`,
            or `tools`. `tools=()` makes it one plain model call, without a kernel.

    Raises:
        AgentError: in a cell, when the child failed or was refused; elsewhere, when the time is over.
        RlmError: elsewhere, when the run failed; with `session_dir` and `usage`, if it had begun.
    """
    _needs_asyncio()
    if (address := broker_address()) is not None:
        options = _texts(settings, cwd=cwd, system_prompt=system_prompt, isolation=isolation)
        return await _ask_parent(address, check_task(task), options, context, schema)
    if isolation is not None:
        raise ConfigError("isolation is for sub-agents: it is an argument of rlm.run in a cell.")
    from rlm.host.host import Host

    async with Host(**settings) as host:
        return await host.run(task, context=context, cwd=cwd, system_prompt=system_prompt, schema=schema)


def run_sync(
    task: str,
    *,
    context: object = NOT_GIVEN,
    cwd: FilePath | None = None,
    system_prompt: str | None = None,
    schema: object = None,
    **settings: Unpack[HostSettings],
) -> RunResult:
    """Run an agent as `run` does, for a program without an event loop.

    Raises:
        RlmError: as in `run`; or an event loop runs here.
    """
    with suppress(RuntimeError):  # there is no loop
        asyncio.get_running_loop()
        raise RlmError("An event loop runs here, so rlm.run_sync would block it. Use: await rlm.run(...)")
    return asyncio.run(run(task, context=context, cwd=cwd, system_prompt=system_prompt, schema=schema, **settings))


async def stream(
    task: str,
    *,
    context: object = NOT_GIVEN,
    cwd: FilePath | None = None,
    system_prompt: str | None = None,
    schema: object = None,
    **settings: Unpack[HostSettings],
) -> AsyncIterator[dict[str, Any]]:
    """Run an agent as `run` does, and yield the records of its whole tree as they happen.

    The records are those of `rlm --json --deltas`, described in docs/sessions.md. Leaving the loop early cancels the
    run.

    Raises:
        RlmError: the run failed, or could not begin; the last record says so too.
    """
    _needs_asyncio()
    if broker_address() is not None:
        raise AgentError("rlm.stream works only in programs; in a cell use rlm.run")
    from rlm.core.exit_codes import of_error
    from rlm.host.host import Host
    from rlm.sessions.metrics import no_result
    from rlm.sessions.records import wire

    try:
        opened = Host(**settings)
    except RlmError as error:
        yield wire(no_result().with_exit(of_error(error), str(error)))
        raise
    async with opened as host:
        records = host.stream(task, context=context, cwd=cwd, system_prompt=system_prompt, schema=schema)
        try:
            async for record in records:
                yield record
        finally:
            await records.aclose()


def _needs_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RlmError(
            "rlm runs on asyncio, and no asyncio loop runs here. Under trio or another library, call it in a thread: "
            "asyncio.run(rlm.run(...))."
        ) from None


def _texts(settings: Mapping[str, Any], cwd: FilePath | None, **others: object) -> dict[str, str]:
    """Return the arguments for a cell's request, without those that are None. `cwd` becomes absolute."""
    texts = {name: _text(value) for name, value in (*settings.items(), *others.items()) if value is not None}
    return texts if cwd is None else texts | {"cwd": str(Path(cwd).absolute())}


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


async def _ask_parent(
    address: tuple[str, str], task: str, options: dict[str, str], context: object, schema: object
) -> RunResult:
    """Run a child of the agent that runs this cell."""
    from rlm.broker.answers import AnswerType, load_answer
    from rlm.broker.client import ask
    from rlm.broker.protocol import RunRequest
    from rlm.inside.late_results import late_results

    path, token = address
    folder = Path(path).parent
    kind = None if schema is None else AnswerType.of(schema)
    text = json.dumps(kind.schema) if kind else ""
    with _handed(context, folder) as file, late_results.telling(task) as ended:
        request = RunRequest(token, task, options, file, text)
        result = load_answer(await ask(path, request), folder)
        result = kind.typed(result) if kind else result
        ended(result)
    return result


def _handed(context: object, folder: Path) -> AbstractContextManager[ContextFile | None]:
    if context is NOT_GIVEN:
        return nullcontext()
    from rlm.broker.contexts import CONTEXT_FILES  # late import: a call without a context does not need it

    return CONTEXT_FILES.file(context, folder)


async def llm(
    prompt: str,
    *,
    model: str | None = None,
    schema: object = None,
    system: str | None = None,
    images: Sequence[str | os.PathLike[str] | bytes] = (),
) -> Any:
    """Make one model call in a cell, without a kernel or a conversation. Cancellation aborts the request.

    Args:
        prompt: the user message, word for word.
        model: replaces the model of the agent's sub-agents.
        schema: the type of the answer, as in `run`.
        system: a system message; the default is none.
        images: URLs, files, or the bytes of PNG, JPEG, GIF or WebP pictures.

    Returns:
        The text of the answer; with `schema` a value of that type.

    Raises:
        AgentError: there is no answer, or none that fits.
    """
    address = _broker("rlm.llm", "rlm.run(task, tools=())")
    from rlm.broker.answers import AnswerType
    from rlm.broker.client import ask_model
    from rlm.broker.payload import picture_url
    from rlm.broker.protocol import LlmRequest

    kind = None if schema is None else AnswerType.of(schema)
    path, token = address
    urls = tuple(picture_url(image) for image in images)
    text = json.dumps(kind.schema) if kind else ""
    answer = await ask_model(path, LlmRequest(token, check_task(prompt), model or "", system or "", text, urls))
    return kind.typed(RunResult(answer, Stop.DONE)).value if kind else answer


async def map(
    work: str | Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    limit: int = 32,
    retries: int = 0,
    return_exceptions: bool = False,
) -> list[Any]:
    """Work on each item, at most `limit` at once. Return the results in the order of the items.

    Args:
        work: an async function of one item, or the task of a sub-agent that finds the item as `context`.
        items: any number.
        limit: the number of items at once.
        retries: how often an item is tried again after an exception.
        return_exceptions: an exception replaces its item's result. Otherwise the first one cancels the rest.

    Returns:
        The results of the function; for a task, the results of the sub-agents.
    """
    from rlm.inside.fanout import each

    if isinstance(work, str):
        task = check_task(work)

        async def run_on(item: T) -> RunResult:
            return await run(task, context=item)

        return await each(run_on, list(items), limit=limit, retries=retries, keep=return_exceptions)
    return await each(work, list(items), limit=limit, retries=retries, keep=return_exceptions)


def _broker(what: str, instead: str) -> tuple[str, str]:
    """Return the address of the host of this cell.

    Raises:
        AgentError: this is no cell of rlm.
    """
    if (address := broker_address()) is None:
        raise AgentError(f"{what} works only in the cells of an agent: use {instead}")
    return address


def answer(value: object) -> None:
    """In a cell: end the run with `value` as the agent's answer, after the cell has ended.

    Args:
        value: a text, or any value that JSON can represent. In a sub-agent it may be any picklable object, and becomes
            the `value` of its result. With a schema it must fit that.

    Raises:
        AgentError: it does not fit, is too long, or this is no cell of rlm.
        ConfigError: it cannot be pickled.
    """
    address = _broker("rlm.answer", "what the program has")
    from rlm.broker.answers import pack_answer
    from rlm.broker.client import exchange
    from rlm.broker.protocol import AnswerRequest, accepted

    path, token = address
    accepted(exchange(path, AnswerRequest(token, pack_answer(value, Path(path).parent))))


def budget() -> Budget:
    """In a cell: return what the whole tree has spent, and what is left of its limits.

    Raises:
        AgentError: this is no cell of rlm.
    """
    path, token = _broker("rlm.budget", "the usage of a result")
    from rlm.broker.client import exchange
    from rlm.broker.protocol import BudgetRequest, parse_budget

    return parse_budget(exchange(path, BudgetRequest(token)))
