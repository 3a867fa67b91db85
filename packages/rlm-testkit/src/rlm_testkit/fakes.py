"""A scripted model and tools behind the core's Protocols, and short functions to write scripts."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from msgspec.structs import replace
from rlm.broker.protocol import AnswerRequest, CallRequest, LlmRequest, RunRequest, ToolsRequest
from rlm.broker.server import Broker, OnProgress
from rlm.core.adaptation import Adaptation
from rlm.core.agent import Agent
from rlm.core.budget import Budget, Spent, Stop, TurnLimit
from rlm.core.context import Compact
from rlm.core.events import Event
from rlm.core.history import History
from rlm.core.messages import (
    Assistant,
    Message,
    Outcome,
    Reply,
    Schema,
    System,
    ToolCall,
    ToolResult,
    Usage,
    User,
    Wire,
    assistant,
)
from rlm.core.ports import Context, Limits, Tool, ToolChoice
from rlm.core.state import ConversationState
from rlm.core.task import RunResult
from rlm.core.toolbox import Toolbox
from rlm.errors import AgentError

_ids = itertools.count(1)


class Stuck:
    """A step that never ends: wait for `begun`, then cancel."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def wait(self) -> NoReturn:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What the model received, and whether it answered. `messages` are those of `sent`, with joined ones separated."""

    messages: tuple[Message, ...]
    sent: tuple[Message, ...]
    tools: tuple[Schema, ...]
    tool_choice: ToolChoice
    answered: bool


class ScriptedModel:
    """Plays its script, one step per request: a reply, an exception to raise, or `Stuck`."""

    name = "scripted"
    api = "chat"

    def __init__(self, *script: Reply | BaseException | Stuck) -> None:
        self.params: Wire = {"temperature": 0}
        self.adaptations: frozenset[Adaptation] = frozenset()
        self.script = list(script)
        self.seen: list[ModelRequest] = []

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        assert self.script, "the script has no step for this request"
        step = self.script.pop(0)
        self.seen.append(
            ModelRequest(apart(messages), tuple(messages), tuple(tools), tool_choice, isinstance(step, Reply))
        )
        if isinstance(step, Stuck):
            await step.wait()
        if isinstance(step, BaseException):
            raise step
        return step


def apart(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The same messages, with joined user messages separated."""
    return tuple(
        each
        for message in messages
        for each in (
            (replace(message, joined=()), *message.joined) if isinstance(message, User | ToolResult) else (message,)
        )
    )


class FakeTool:
    """Plays its script, one step per call; afterwards it echoes. `calls` holds the arguments that it received."""

    def __init__(self, name: str = "ipython", *script: Outcome | BaseException | Stuck, **types: str) -> None:
        """`types` are the parameter types, `code="string"` unless given; a trailing `_` makes one optional."""
        self.name = name
        self.script = list(script)
        self.calls: list[dict[str, Any]] = []
        self._types = types or {"code": "string", "timeout_": "number"}

    def schema(self) -> Schema:
        properties = {name.removesuffix("_"): {"type": kind} for name, kind in self._types.items()}
        required = [name for name in self._types if not name.endswith("_")]
        parameters = {"type": "object", "properties": properties, "required": required}
        return {"name": self.name, "description": "A fake.", "parameters": parameters}

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        self.calls.append(arguments)
        step = self.script.pop(0) if self.script else Outcome(f"ran {json.dumps(arguments)}")
        if isinstance(step, Stuck):
            await step.wait()
        if isinstance(step, BaseException):
            raise step
        return step


class TokenLimit:
    """Limits that several agents share, as in a tree: one count of completion tokens."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._spent: dict[str, int] = {}

    def of(self, agent: str) -> Limits:
        return _Share(self, agent)

    def reached(self, agent: str, spent: Spent) -> Stop | None:
        self._spent[agent] = spent.usage.completion
        return Stop.TOKEN_BUDGET if sum(self._spent.values()) >= self._tokens else None


@dataclass(frozen=True, slots=True)
class _Share:
    whole: TokenLimit
    agent: str

    def reached(self, spent: Spent) -> Stop | None:
        return self.whole.reached(self.agent, spent)


def call(name: str = "ipython", /, **arguments: object) -> ToolCall:
    return raw_call(name, json.dumps(arguments))


def raw_call(name: str, arguments: str) -> ToolCall:
    """A call whose arguments are the exact text of a model."""
    return ToolCall(f"call_{next(_ids)}", name, arguments)


def says(text: str, *calls: ToolCall, finish: str = "", prompt: int = 100, completion: int = 10) -> Reply:
    received: Wire = {"role": "assistant", "content": text}
    if calls:
        functions = [{"name": c.name, "arguments": c.arguments} for c in calls]
        received["tool_calls"] = [
            {"id": c.id, "type": "function", "function": f} for c, f in zip(calls, functions, strict=True)
        ]
    finish = finish or ("tool_calls" if calls else "stop")
    return Reply(assistant(received), Usage(prompt, completion), finish)


def turn(name: str, prompt: int = 100) -> Reply:
    """A reply that calls the tool once, with the name as its text and its code."""
    return says(name, call(code=name), prompt=prompt)


SYSTEM = System("You are a test.")
TASK = User("Do it.")


def open_agent(
    model: ScriptedModel,
    *tools: Tool,
    context: Context | None = None,
    limits: Limits | None = None,
    state: ConversationState | None = None,
    **others: Any,
) -> tuple[Agent, list[Event]]:
    """An agent, and the list that receives its events. `others` are arguments of `Agent`."""
    events: list[Event] = []
    agent = Agent(
        model=model,
        tools=Toolbox(tools),
        context=context or Compact(),
        limits=limits or TurnLimit(),
        sink=events.append,
        state=state,
        **others,
    )
    return agent, events


def common_beginning(*texts: str) -> str:
    return "".join(each[0] for each in itertools.takewhile(lambda each: len(set(each)) == 1, zip(*texts, strict=False)))


def history(turns: int) -> History:
    """A task, and this many turns without calls."""
    conversation = History().add(TASK)
    for _ in range(turns):
        conversation = conversation.add(Assistant("", ()))
    return conversation


async def cancel(agent: Agent, stuck: Stuck) -> None:
    """Run the agent on a task until it is stuck, and cancel it there."""
    run = asyncio.create_task(agent.run(SYSTEM, TASK))
    await stuck.begun.wait()
    run.cancel()
    try:
        await run
    except asyncio.CancelledError:
        return
    raise AssertionError("a cancelled run must end with CancelledError")


RESULT = RunResult("done", Stop.DONE, Usage(5, 4, 3, 2), 1, Path("/somewhere"))


async def return_result(_: RunRequest) -> RunResult:
    """A child that ends at once."""
    return RESULT


def path_and_token(broker: Broker) -> tuple[str, str]:
    path, _, token = broker.address.rpartition(":")
    return path, token


class Runs:
    """Handles calls from cells of an agent that runs children, and takes no answer."""

    def __init__(self, run: Callable[[RunRequest], Awaitable[RunResult]]) -> None:
        self._run = run

    async def run(self, request: RunRequest) -> RunResult:
        return await self._run(request)

    def budget(self) -> Budget:
        return Budget(Usage(), None, None, None, 0, 0, None)

    async def llm(self, request: LlmRequest) -> str:
        raise AgentError(f"nobody asks {request.model}")

    async def answer(self, request: AnswerRequest) -> None:
        raise AgentError(f"nobody asked for {request.file}")

    async def tools(self, request: ToolsRequest) -> tuple[str, Sequence[dict[str, Any]]]:
        raise AgentError(f"there is no {request.server}")

    async def call(self, request: CallRequest, on_progress: OnProgress) -> dict[str, Any]:
        """Report more progress than a socket buffer holds, then return the arguments."""
        for step in range(10_000):
            on_progress(step, 10_000, "of the way " * 20)
            if not step % 100:
                await asyncio.sleep(0)
        return request.values()
