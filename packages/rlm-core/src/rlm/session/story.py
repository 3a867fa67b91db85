"""A journal as a reader wants it: turns with their calls, and each call with its result and its sub-agents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rlm.messages import Usage, Wire
from rlm.session.codec import Record, usage_read

CODE = ("code", "command")
"""Arguments that hold a program: ipython's and bash's."""


@dataclass(frozen=True, slots=True)
class Call:
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
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Words:
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
class Mark:
    """Any other record that a reader wants to see: drop, retry, error, kernel, resume, result, request."""

    id: int
    ts: float
    type: str
    record: Record


Item = Turn | Words | Mark


class _Teller:
    """Reads records in order. Turns stay open until all is read: their calls are answered by later records."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._turns = 0
        self._turn: Turn | None = None
        self._place = 0  # of the newest turn among the items

    def read(self, record: Record) -> None:
        match record["type"]:
            case "message":
                self._message(record)
            case "agent_start":
                self._start_child(record["folder"])
            case "agent_end":
                pass
            case type:
                self.items.append(Mark(record["id"], record["ts"], type, record))

    def _message(self, record: Record) -> None:
        match record["message"]["role"]:
            case "assistant":
                self._replied(record)
            case "tool":
                self._answer(record)
            case role:
                kind = "system" if role == "system" else record.get("kind", "task")
                self.items.append(Words(record["id"], record["ts"], kind, record["message"]["content"]))

    def _replied(self, record: Record) -> None:
        if record.get("aside"):  # no turn, and what it asks for is never answered
            self.items.append(_turn(record, 0))
            return
        self._turns += 1
        self._place, self._turn = len(self.items), _turn(record, self._turns)
        self.items.append(self._turn)

    def _answer(self, record: Record) -> None:
        """The first result counts: a second is the same one, shortened."""
        wanted = record["message"]["tool_call_id"]
        for place, call in enumerate(self._calls):
            if call.id == wanted and call.ok is None:
                self._change(place, _answered(call, record))
                return

    def _start_child(self, folder: str) -> None:
        """Calls run in order: the first without a result is the one that runs. A task may outlive its cell, too."""
        if self._calls:
            running = (place for place, call in enumerate(self._calls) if call.ok is None)
            place = next(running, len(self._calls) - 1)
            call = self._calls[place]
            self._change(place, replace(call, children=(*call.children, folder)))

    @property
    def _calls(self) -> tuple[Call, ...]:
        """Of the newest turn."""
        return self._turn.calls if self._turn else ()

    def _change(self, place: int, call: Call) -> None:
        assert self._turn is not None
        turn = replace(self._turn, calls=(*self._calls[:place], call, *self._calls[place + 1 :]))
        self.items[self._place], self._turn = turn, turn


def tell(records: Iterable[Record]) -> tuple[Item, ...]:
    """The items of a journal, in order. Sub-agents are found in the calls that started them."""
    teller = _Teller()
    for record in records:
        teller.read(record)
    return tuple(teller.items)


def _turn(record: Record, number: int) -> Turn:
    message = record["message"]
    calls = message.get("tool_calls") or ()
    return Turn(
        id=record["id"],
        number=number,
        started=record["ts"] - record.get("duration", 0.0),
        ended=record["ts"],
        text=_text(message.get("content")) or _text(message.get("refusal")),
        reasoning=_text(message.get("reasoning_content")) or _text(message.get("reasoning")),
        usage=usage_read(record["usage"]),
        finish=record["finish_reason"],
        calls=tuple(Call(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls),
    )


def _answered(call: Call, record: Record) -> Call:
    ended = record["ts"]
    started = ended - record["duration"] if "duration" in record else None
    content = record["message"]["content"]
    return replace(call, content=content, ok=record["ok"], answer=record["id"], started=started, ended=ended)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
