"""The messages between user, model and tools, in the terms of OpenAI's chat format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

Wire = dict[str, Any]
"""A message as JSON, in the chat format."""
Schema = dict[str, Any]
"""A function as the chat format describes it: name, description, parameters."""


CHAT = "chat"
"""The default API of requests: Chat Completions. The other one is `responses`."""


class Kind(StrEnum):
    """The author and the purpose of a user message."""

    TASK = "task"  # from the user; never dropped
    NOTE = "note"  # from rlm; dropped with the turn that it follows
    ASK = "ask"  # rlm asks for a summary
    SUMMARY = "summary"  # rlm gives the model the summary of what was dropped


class Ending(StrEnum):
    """The meaning of a finish reason. `stop` is a normal end, with or without calls."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    ERROR = "error"


_ENDINGS = (
    (
        Ending.CONTENT_FILTER,
        r"filter|safety|unsafe|recitation|sensitive|prohibited|blocked|blocklist|_block$|spii|^language$|refus|guardrail"
        r"|moderat|violat|policy|model_armor|toxic|flagged|risk",
    ),
    (
        Ending.LENGTH,
        r"length|max_?(\w+_)?tokens?|(?<!rate)_limit|limit_reached|out_of_tokens|truncated|incomplete|context_window",
    ),
    (
        Ending.ERROR,
        r"error|malformed|unexpected|too_many|insufficient|abort|cancel|overload|fail|rate_limit|time_?out|unavailable",
    ),
)
"""Patterns in finish reasons of OpenAI, Anthropic, Gemini, Mistral, Cohere, Bedrock, Zhipu, DeepSeek, vLLM and SGLang.

If none of them matches, the model stopped by itself.
"""


@lru_cache(128)
def ending(finish: str) -> Ending:
    """Return the meaning of a provider's finish_reason, regardless of its case and prefix."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", finish.strip()).lower().rpartition(".")[2]
    return next((end for end, holds in _ENDINGS if re.search(holds, word)), Ending.STOP)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, and their cost. `estimated`: the provider did not count them.

    `cost` is in US dollars. It is None if the price of some tokens is unknown, so that a part never looks like the
    whole.
    """

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False
    cost: float | None = None

    def __add__(self, other: Usage) -> Usage:
        paid = [usage for usage in (self, other) if usage.cost is not None or usage.prompt or usage.completion]
        costs = [usage.cost for usage in paid if usage.cost is not None]
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            self.estimated or other.estimated,
            round(sum(costs), _COST_DIGITS) if costs and len(costs) == len(paid) else None,
        )

    @property
    def new_tokens(self) -> int:
        """The tokens that the provider computes: the completion, and the part of the prompt that was not cached."""
        return max(0, self.prompt - self.cached) + self.completion

    @property
    def empty(self) -> bool:
        """Whether no tokens were used."""
        return not (self.prompt or self.completion)


_COST_DIGITS = 10
"""Decimal places of dollars: a token costs at least 1e-8. Without rounding, sums would show float errors."""


class System(Struct, frozen=True):
    """The system prompt."""

    text: str

    def wire(self) -> Wire:
        return {"role": "system", "content": self.text}


class User(Struct, frozen=True):
    """A user message. `content` is text, or a list of parts if it has pictures.

    `joined` are user messages that follow it directly: many chat templates refuse two user messages in a row.
    """

    content: str | list[Wire]
    kind: Kind = Kind.TASK
    joined: tuple[User, ...] = ()

    def wire(self) -> Wire:
        return {"role": "user", "content": _with_joined(self.content, self.joined)}

    @property
    def parts(self) -> tuple[User, ...]:
        """This message and the messages joined to it, one by one."""
        return (replace(self, joined=()), *self.joined)


def with_pictures(text: str, pictures: Sequence[str]) -> str | list[Wire]:
    """Return the content of a user message, with pictures as data URLs."""
    if not pictures:
        return text
    return [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in pictures)]


class ToolCall(Struct, frozen=True):
    """A call of a tool. `arguments` is the text that the model wrote; it should be a JSON object."""

    id: str
    name: str
    arguments: str


class Assistant(Struct, frozen=True):
    """A message of the model. `received` is the provider's message with all fields, sent back and journalled unchanged.

    If a call in it had to be repaired, `written` holds what the model wrote (name and arguments), by the call's id;
    `calls` are as the model wrote them. `items` are the same message in the Responses API: that API takes them back,
    and the chat format cannot hold all of their content.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    received: Wire = field(default_factory=dict)
    written: Wire = field(default_factory=dict)
    items: tuple[Wire, ...] = ()

    def wire(self) -> Wire:
        return self.received


class ToolResult(Struct, frozen=True):
    """The result of a call. `joined` are user messages directly after it: many chat templates refuse them there.

    `exit_status` is as in `Outcome`; it is not sent.
    """

    call: ToolCall
    content: str
    ok: bool = True
    joined: tuple[User, ...] = ()
    exit_status: int = 0

    def wire(self) -> Wire:
        content = _with_joined(self.content, self.joined)
        return {"role": "tool", "tool_call_id": self.call.id, "content": content}


def _with_joined(content: str | list[Wire], joined: tuple[User, ...]) -> str | list[Wire]:
    """Return one text with blank lines between the parts, or a list of parts if one of them is a list."""
    contents = [content, *(user.content for user in joined)]
    texts = [each for each in contents if isinstance(each, str)]
    if len(texts) == len(contents):
        return "\n\n".join(text for text in texts if text) if joined else content
    return [part for each in contents for part in ([{"type": "text", "text": each}] if isinstance(each, str) else each)]


Message = System | User | Assistant | ToolResult


class Reply(Struct, frozen=True):
    """The result of one model call. `finish` is the provider's finish_reason.

    `token_data` is what the server reports of single tokens, for trainers: ids, log probabilities and so on.
    `request_id` is the server's id of the request, if the server reports one.
    """

    message: Assistant
    usage: Usage = field(default_factory=Usage)
    finish: str = "stop"
    token_data: Wire = field(default_factory=dict)
    request_id: str = ""


class Forget(Struct, frozen=True):
    """A tool's request: drop the oldest `turns` turns (1 or more, not the calling one) and keep `summary` of them."""

    turns: int
    summary: str


class Outcome(Struct, frozen=True):
    """The result of a tool. `pictures` are data URLs; they follow in a message of their own.

    `exit_status` is the exit status of a command of the call, if it failed and `content` does not say so. `answer` is
    the agent's answer, which ends the run with this call. None: the run continues.
    """

    content: str
    ok: bool = True
    pictures: tuple[str, ...] = ()
    forget: Forget | None = None
    answer: str | None = None
    exit_status: int = 0

    def with_line(self, line: str) -> Outcome:
        """Return the outcome with one more line; unchanged if `line` is empty."""
        break_ = "" if self.content.endswith("\n") or not self.content else "\n"
        return replace(self, content=f"{self.content}{break_}{line}") if line else self


def assistant(received: Wire, written: Wire | None = None, items: Iterable[Wire] = ()) -> Assistant:
    """Build a message from a valid chat message: see `rlm.providers.normalize`."""
    written = written or {}
    calls = []
    for call in received.get("tool_calls") or ():
        function = written.get(call["id"], call["function"])
        calls.append(ToolCall(call["id"], function["name"], function["arguments"]))
    return Assistant(
        str(received.get("content") or received.get("refusal") or ""), tuple(calls), received, written, tuple(items)
    )


def items_of(message: Message) -> tuple[Wire, ...]:
    """Return the items of the Responses API that are kept with a message."""
    return message.items if isinstance(message, Assistant) else ()


def joined_to(message: Message) -> tuple[User, ...]:
    """Return the user messages that were joined to a message."""
    return message.joined if isinstance(message, User | ToolResult) else ()


def _part_size(part: Wire) -> int:
    text = part.get("text")
    return len(text) if isinstance(text, str) else 1_000  # a picture


def size(message: Message) -> int:
    """Return the number of characters of a message, a rough measure of its cost."""
    match message:
        case System(text):
            return len(text)
        case Assistant(text, calls):
            return len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
        case _:
            content = message.content
            own = len(content) if isinstance(content, str) else sum(map(_part_size, content))
            return own + sum(map(size, message.joined))
