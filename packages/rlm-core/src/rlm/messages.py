"""What is said between user, model and tools, in OpenAI's chat terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Wire = dict[str, Any]
"""A message as JSON, the way the chat format spells it."""
Schema = dict[str, Any]
"""A function as the chat format describes it: name, description, parameters."""


class Kind(StrEnum):
    """Who wrote a user message, and what for."""

    TASK = "task"  # the user; never dropped
    NOTE = "note"  # rlm: goes with the turn it follows
    ASK = "ask"  # rlm asks for a summary
    SUMMARY = "summary"  # rlm hands over what was dropped


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `estimated` says that the provider did not count them."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
            self.reasoning + other.reasoning,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class System:
    text: str

    def wire(self) -> Wire:
        return {"role": "system", "content": self.text}


@dataclass(frozen=True, slots=True)
class User:
    """`content` is text, or a list of parts where pictures go along."""

    content: str | list[Wire]
    kind: Kind = Kind.TASK

    def wire(self) -> Wire:
        return {"role": "user", "content": self.content}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is what the model wrote, meant to be a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Assistant:
    """`received` is the provider's message, unknown fields and all: it is echoed back and journalled as it is."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    received: Wire = field(default_factory=dict)

    def wire(self) -> Wire:
        return self.received


@dataclass(frozen=True, slots=True)
class ToolResult:
    call: ToolCall
    content: str
    ok: bool = True

    def wire(self) -> Wire:
        return {"role": "tool", "tool_call_id": self.call.id, "content": self.content}


Message = System | User | Assistant | ToolResult


@dataclass(frozen=True, slots=True)
class Reply:
    """What one model call gave. `finish` is the provider's finish_reason."""

    message: Assistant
    usage: Usage = field(default_factory=Usage)
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class Forget:
    """A tool's wish: drop the oldest `turns` turns (1 or more, not the calling one) and keep `summary` of them."""

    turns: int
    summary: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool did. `pictures` are data URLs that follow in a message of their own."""

    content: str
    ok: bool = True
    pictures: tuple[str, ...] = ()
    forget: Forget | None = None


def assistant(received: Wire) -> Assistant:
    """Read a chat message. It must already be sound: see `rlm.models.sound`."""
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in received.get("tool_calls") or ()
    )
    return Assistant(str(received.get("content") or received.get("refusal") or ""), calls, received)


def size(message: Message) -> int:
    """Characters of a message, roughly what it costs."""
    match message:
        case System(text):
            return len(text)
        case User(content):
            return len(content) if isinstance(content, str) else 1_000 * len(content)
        case Assistant(text, calls):
            return len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
        case _:
            return len(message.content)
