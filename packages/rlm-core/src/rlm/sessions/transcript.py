"""A journal as a reader wants it: turns with their calls, and each call with its result and its sub-agents."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rlm.core.messages import Usage, Wire
from rlm.sessions.records import Record, usage_read

CODE = ("code", "command")
"""Arguments that hold a program: ipython's and bash's."""


@dataclass(frozen=True, slots=True)
class TranscriptCall:
    """A tool call. `answer` is the id of its result's record, None where none was journalled, as is `ok`.

    Times are seconds; `children` are the folder names of the sub-agents that it started.
    """

    id: str
    tool: str
    arguments: str
    content: str = ""
    ok: bool | None = None
    answer: int | None = None
    started: float | None = None
    ended: float | None = None
    children: tuple[str, ...] = ()

    @property
    def given(self) -> dict[str, Any]:
        """The arguments as an object; empty where they are none."""
        try:
            given = json.loads(self.arguments)
        except (ValueError, RecursionError):
            return {}
        return given if isinstance(given, dict) else {}

    @property
    def code(self) -> str:
        """The program, where the tool runs one."""
        given = self.given
        return next((given[name] for name in CODE if isinstance(given.get(name), str)), "")


@dataclass(frozen=True, slots=True)
class Turn:
    """An assistant message. `number` is 0 for an aside, the summary of a compaction."""

    id: int
    number: int
    started: float
    ended: float
    text: str
    reasoning: str
    usage: Usage
    finish: str
    calls: tuple[TranscriptCall, ...] = ()


@dataclass(frozen=True, slots=True)
class TextItem:
    """A system or user message; `kind` as in the records, `system` for the system prompt."""

    id: int
    ts: float
    kind: str
    content: str | list[Wire]

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part["text"] for part in self.content if isinstance(part.get("text"), str))

    @property
    def pictures(self) -> list[str]:
        """Their URLs."""
        parts = [] if isinstance(self.content, str) else self.content
        return [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]


@dataclass(frozen=True, slots=True)
class Marker:
    """Any other record that a reader wants to see: drop, retry, error, kernel, resume, result, request."""

    id: int
    ts: float
    type: str
    record: Record


Item = Turn | TextItem | Marker


class _OpenTurn:
    """The newest turn: its calls are answered by later records, and what comes meanwhile waits behind it."""

    def __init__(self, turn: Turn) -> None:
        self.behind: list[Item] = []
        self._turn = turn
        self._calls = list(turn.calls)
        self._children: list[list[str]] = [[] for _ in turn.calls]
        self._waiting: dict[str, deque[int]] = {}
        for place, call in enumerate(turn.calls):
            self._waiting.setdefault(call.id, deque()).append(place)
        self._running = 0

    def answer(self, record: Record) -> None:
        """The first result counts: a second is the same one, shortened."""
        waiting = self._waiting.get(record["message"]["tool_call_id"])
        if waiting:
            place = waiting.popleft()
            self._calls[place] = _answered(self._calls[place], record)

    def start_child(self, folder: str) -> None:
        """Calls run in order: the first without a result is the one that runs. A task may outlive its cell, too."""
        while self._running < len(self._calls) - 1 and self._calls[self._running].ok is not None:
            self._running += 1
        if self._children:
            self._children[self._running].append(folder)

    def closed(self) -> Iterator[Item]:
        """The turn with all that is known now, and what came after it."""
        pairs = zip(self._calls, self._children, strict=True)
        yield replace(self._turn, calls=tuple(replace(call, children=tuple(names)) for call, names in pairs))
        yield from self.behind


def build(records: Iterable[Record]) -> Iterator[Item]:
    """The items of a journal, in order, each when it is complete. Sub-agents are in the calls that started them."""
    turns, turn = 0, None
    for record in records:
        if _is_form(record):
            continue
        if _begins_turn(record):
            if turn is not None:
                yield from turn.closed()
            turns += 1
            turn = _OpenTurn(_turn(record, turns))
        elif turn is not None:
            _go_on(turn, record)
        elif (item := _item(record)) is not None:
            yield item
    if turn is not None:
        yield from turn.closed()


def _is_form(record: Record) -> bool:
    """Only of what is sent: a message stands where it was said first."""
    return bool(record.get("anew")) or record["type"] == "adapt" or record.get("reason") == "joined"


def _begins_turn(record: Record) -> bool:
    """An aside is no turn, and what it asks for is never answered."""
    return record["type"] == "message" and record["message"]["role"] == "assistant" and not record.get("aside")


def _go_on(turn: _OpenTurn, record: Record) -> None:
    if record["type"] == "agent_start":
        turn.start_child(record["folder"])
    elif record["type"] == "message" and record["message"]["role"] == "tool":
        turn.answer(record)
    elif (item := _item(record)) is not None:
        turn.behind.append(item)


def _item(record: Record) -> Item | None:
    """What a record is by itself; None for one that only says more of a call."""
    match record["type"]:
        case "message":
            return _message(record)
        case "agent_start" | "agent_end" | "checkpoint":
            return None
        case type:
            return Marker(record["id"], record["ts"], type, record)


def _message(record: Record) -> Item | None:
    match record["message"]["role"]:
        case "assistant":
            return _turn(record, 0)
        case "tool":
            return None
        case role:
            kind = "system" if role == "system" else record.get("kind", "task")
            return TextItem(record["id"], record["ts"], kind, record["message"]["content"])


def _turn(record: Record, number: int) -> Turn:
    message = record["message"]
    written = record.get("written", {})  # what the model wrote, where it was repaired
    calls = [(call["id"], written.get(call["id"], call["function"])) for call in message.get("tool_calls") or ()]
    return Turn(
        id=record["id"],
        number=number,
        started=record["ts"] - record.get("duration", 0.0),
        ended=record["ts"],
        text=_text(message.get("content")) or _text(message.get("refusal")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        usage=usage_read(record["usage"]),
        finish=record["finish_reason"],
        calls=tuple(TranscriptCall(id, function["name"], function["arguments"]) for id, function in calls),
    )


def _answered(call: TranscriptCall, record: Record) -> TranscriptCall:
    ended = record["ts"]
    started = ended - record["duration"] if "duration" in record else None
    content = record["message"]["content"]
    return replace(call, content=content, ok=record["ok"], answer=record["id"], started=started, ended=ended)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
