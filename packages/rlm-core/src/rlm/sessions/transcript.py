"""A journal in the form that readers need: turns with their calls, and each call with its result and its sub-agents."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from rlm.core.messages import Usage, Wire
from rlm.sessions.records import (
    AdaptRecord,
    AgentEndRecord,
    AgentStartRecord,
    CheckpointRecord,
    DropRecord,
    Journalled,
    MessageRecord,
    UserCellRecord,
)

CODE = ("code", "command")
"""Arguments that contain a program: ipython's and bash's."""


@dataclass(frozen=True, slots=True)
class TranscriptCall:
    """A tool call. `answer` is the id of its result's record. It is None, like `ok`, if no result was journalled.

    Times are seconds; `children` are the folder names of the sub-agents that it started, `queued` their waiting times.
    """

    id: str
    tool: str
    arguments: str
    content: str = ""
    ok: bool | None = None
    exit_status: int = 0
    answer: int | None = None
    started: float | None = None
    ended: float | None = None
    children: tuple[str, ...] = ()
    queued: tuple[float, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        """The arguments as an object; empty if they are no object."""
        try:
            values = json.loads(self.arguments)
        except (ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}

    @property
    def code(self) -> str:
        """The program, if the tool runs one."""
        values = self.values
        return next((values[name] for name in CODE if isinstance(values.get(name), str)), "")


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
    token_data: Wire = field(default_factory=dict)


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
        """The URLs of the pictures."""
        parts = [] if isinstance(self.content, str) else self.content
        return [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]


def user_call(record: UserCellRecord) -> TranscriptCall:
    """Return a cell of the user as a call that has ended."""
    arguments = json.dumps({"code": record.code})
    return TranscriptCall("", "ipython", arguments, record.content, record.ok, answer=record.id)


Item = Turn | TextItem | Journalled
"""Records are items too, unless they are messages or add to a call."""


class _OpenTurn:
    """The newest turn: later records answer its calls. Other items of that time wait in `behind`."""

    def __init__(self, turn: Turn) -> None:
        self.behind: list[Item] = []
        self._turn = turn
        self._calls = list(turn.calls)
        self._children: list[list[AgentStartRecord]] = [[] for _ in turn.calls]
        self._waiting: dict[str, deque[int]] = {}
        for place, call in enumerate(turn.calls):
            self._waiting.setdefault(call.id, deque()).append(place)
        self._running = 0

    def answer(self, record: MessageRecord) -> None:
        """Add a result. Only the first one counts: a second one is the same, shortened."""
        waiting = self._waiting.get(record.message["tool_call_id"])
        if waiting:
            place = waiting.popleft()
            self._calls[place] = replace(
                self._calls[place],
                content=record.message["content"],
                ok=record.ok,
                exit_status=record.exit_status,
                answer=record.id,
                started=None if record.duration is None else record.ts - record.duration,
                ended=record.ts,
            )

    def start_child(self, record: AgentStartRecord) -> None:
        """Add a sub-agent to the running call: the first without a result, or the last one. A task may outlive it."""
        while self._running < len(self._calls) - 1 and self._calls[self._running].ok is not None:
            self._running += 1
        if self._children:
            self._children[self._running].append(record)

    def closed(self) -> Iterator[Item]:
        """Yield the turn with everything that is known now, and then the items after it."""
        calls = (
            replace(
                call, children=tuple(each.folder for each in started), queued=tuple(each.queued for each in started)
            )
            for call, started in zip(self._calls, self._children, strict=True)
        )
        yield replace(self._turn, calls=tuple(calls))
        yield from self.behind


def build(records: Iterable[Journalled]) -> Iterator[Item]:
    """Yield the items of a journal, in order, each when it is complete. Calls contain their sub-agents."""
    turns, turn = 0, None
    for record in records:
        if _only_changes_form(record):
            continue
        if isinstance(record, MessageRecord) and record.is_turn:  # calls of an aside are never answered
            if turn is not None:
                yield from turn.closed()
            turns += 1
            turn = _OpenTurn(_turn(record, turns))
        elif turn is not None:
            _add_to_turn(turn, record)
        elif (item := _item(record)) is not None:
            yield item
    if turn is not None:
        yield from turn.closed()


def _only_changes_form(record: Journalled) -> bool:
    """Whether a record only changes the form of later requests: a message is shown where it first appeared."""
    match record:
        case MessageRecord():
            return record.anew
        case DropRecord():
            return record.reason == "joined"
        case _:
            return isinstance(record, AdaptRecord)


def _add_to_turn(turn: _OpenTurn, record: Journalled) -> None:
    if isinstance(record, AgentStartRecord):
        turn.start_child(record)
    elif isinstance(record, MessageRecord) and record.role == "tool":
        turn.answer(record)
    elif (item := _item(record)) is not None:
        turn.behind.append(item)


def _item(record: Journalled) -> Item | None:
    """Return a record as an item; None if it only adds to a call."""
    match record:
        case MessageRecord(message={"role": "assistant"}):
            return _turn(record, 0)
        case MessageRecord(message={"role": "tool"}) | AgentStartRecord() | AgentEndRecord() | CheckpointRecord():
            return None
        case MessageRecord():
            kind = "system" if record.role == "system" else record.kind or "task"
            return TextItem(record.id, record.ts, kind, record.message["content"])
        case _:
            return record


def _turn(record: MessageRecord, number: int) -> Turn:
    message, written = record.message, record.written  # what the model wrote, if it was repaired
    calls = [(call["id"], written.get(call["id"]) or call["function"]) for call in message.get("tool_calls") or ()]
    return Turn(
        id=record.id,
        number=number,
        started=record.ts - (record.duration or 0.0),
        ended=record.ts,
        text=_text(message.get("content")) or _text(message.get("refusal")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        usage=record.usage.usage if record.usage else Usage(),
        finish=record.finish_reason or "",
        calls=tuple(TranscriptCall(id, function["name"], function["arguments"]) for id, function in calls),
        token_data=record.token_data,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
