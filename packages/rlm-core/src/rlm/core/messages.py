"""What is said between user, model and tools, in OpenAI's chat terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

Wire = dict[str, Any]
"""A message as JSON, the way the chat format spells it."""
Schema = dict[str, Any]
"""A function as the chat format describes it: name, description, parameters."""


CHAT = "chat"
"""The API of requests unless it is said: Chat Completions. The other is `responses`."""


class Kind(StrEnum):
    """Who wrote a user message, and what for."""

    TASK = "task"  # the user; never dropped
    NOTE = "note"  # rlm: goes with the turn it follows
    ASK = "ask"  # rlm asks for a summary
    SUMMARY = "summary"  # rlm hands over what was dropped


class Ending(StrEnum):
    """What a finish reason means. `stop` is any that means nothing worse, calls included."""

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
"""What finish reasons hold, of OpenAI, Anthropic, Gemini, Mistral, Cohere, Bedrock, Zhipu, DeepSeek, vLLM and SGLang.

One that holds nothing of these means that the model stopped by itself."""


def ending(finish: str) -> Ending:
    """What a provider's finish_reason means, in whatever case and with whatever prefix it is spelt."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", finish.strip()).lower().rpartition(".")[2]
    return next((end for end, holds in _ENDINGS if re.search(holds, word)), Ending.STOP)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, and what they cost. `estimated` says that the provider did not count them.

    `cost` is in US dollars; None: the price of some of them is not known, so a part is never taken for the whole.
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
        """What the provider computes: the completion, and of the prompt what no cache held."""
        return max(0, self.prompt - self.cached) + self.completion

    @property
    def empty(self) -> bool:
        """Whether nothing was asked."""
        return not (self.prompt or self.completion)


_COST_DIGITS = 10
"""After the point, of dollars: a token costs 1e-8 at the least. Without, sums would end in a float's rounding."""


@dataclass(frozen=True, slots=True)
class System:
    text: str

    def wire(self) -> Wire:
        return {"role": "system", "content": self.text}


@dataclass(frozen=True, slots=True)
class User:
    """`content` is text, or a list of parts where pictures go along.

    `joined` are user messages that follow it directly: many chat templates refuse two user messages in a row.
    """

    content: str | list[Wire]
    kind: Kind = Kind.TASK
    joined: tuple[User, ...] = ()

    def wire(self) -> Wire:
        return {"role": "user", "content": _with_joined(self.content, self.joined)}

    @property
    def parts(self) -> tuple[User, ...]:
        """It and what is joined to it, one by one."""
        return (replace(self, joined=()), *self.joined)


def with_pictures(text: str, pictures: Sequence[str]) -> str | list[Wire]:
    """What a user says, with pictures as data URLs."""
    if not pictures:
        return text
    return [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in pictures)]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is what the model wrote, meant to be a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Assistant:
    """`received` is the provider's message, unknown fields and all: it is sent back and journalled as it is.

    Where a call in it had to be repaired, `written` holds what the model wrote instead (name and arguments), by the
    call's id; `calls` are as the model wrote them. `items` are the same message as the Responses API gave it: that one
    takes them back, and the chat format has no place for all that is in them.
    """

    text: str
    calls: tuple[ToolCall, ...] = ()
    received: Wire = field(default_factory=dict)
    written: Wire = field(default_factory=dict)
    items: tuple[Wire, ...] = ()

    def wire(self) -> Wire:
        return self.received


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`joined` are user messages that follow it directly: many chat templates refuse those behind a tool's.

    `exit_status` is as in `Outcome`, and not sent.
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
    """One text, a blank line between the parts; a list of parts where one of them is."""
    contents = [content, *(user.content for user in joined)]
    texts = [each for each in contents if isinstance(each, str)]
    if len(texts) == len(contents):
        return "\n\n".join(text for text in texts if text) if joined else content
    return [part for each in contents for part in ([{"type": "text", "text": each}] if isinstance(each, str) else each)]


Message = System | User | Assistant | ToolResult


@dataclass(frozen=True, slots=True)
class Reply:
    """What one model call gave. `finish` is the provider's finish_reason.

    `token_data` is what the server says of single tokens, for trainers: their ids, log probabilities and the like.
    `request_id` is by which the server knows the request, where it was told.
    """

    message: Assistant
    usage: Usage = field(default_factory=Usage)
    finish: str = "stop"
    token_data: Wire = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Forget:
    """A tool's wish: drop the oldest `turns` turns (1 or more, not the calling one) and keep `summary` of them."""

    turns: int
    summary: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool did. `pictures` are data URLs that follow in a message of their own.

    `exit_status` is that of a command which the call ran and of which the content does not say that it failed.
    `answer` is the answer of the agent, which ends with this call; None: it goes on.
    """

    content: str
    ok: bool = True
    pictures: tuple[str, ...] = ()
    forget: Forget | None = None
    answer: str | None = None
    exit_status: int = 0

    def with_line(self, line: str) -> Outcome:
        """The same with one more line, if there is one to be told."""
        break_ = "" if self.content.endswith("\n") or not self.content else "\n"
        return replace(self, content=f"{self.content}{break_}{line}") if line else self


def assistant(received: Wire, written: Wire | None = None, items: Iterable[Wire] = ()) -> Assistant:
    """Read a chat message. It must already be sound: see `rlm.providers.normalize`."""
    written = written or {}
    calls = []
    for call in received.get("tool_calls") or ():
        function = written.get(call["id"], call["function"])
        calls.append(ToolCall(call["id"], function["name"], function["arguments"]))
    return Assistant(
        str(received.get("content") or received.get("refusal") or ""), tuple(calls), received, written, tuple(items)
    )


def items_of(message: Message) -> tuple[Wire, ...]:
    """The items of the Responses API that are kept beside a message."""
    return message.items if isinstance(message, Assistant) else ()


def joined_to(message: Message) -> tuple[User, ...]:
    """The user messages that were joined to a message."""
    return message.joined if isinstance(message, User | ToolResult) else ()


def _part_size(part: Wire) -> int:
    text = part.get("text")
    return len(text) if isinstance(text, str) else 1_000  # a picture


def size(message: Message) -> int:
    """Characters of a message, roughly what it costs."""
    match message:
        case System(text):
            return len(text)
        case Assistant(text, calls):
            return len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
        case _:
            content = message.content
            own = len(content) if isinstance(content, str) else sum(map(_part_size, content))
            return own + sum(map(size, message.joined))
