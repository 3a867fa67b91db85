"""A journal as a reader wants it: turns with their calls, and each call with its result and its sub-agents."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rlm.messages import Usage, Wire
from rlm.session.codec import Record, usage_read

CODE = ("code", "command")
"""Arguments that hold a program: ipython's and bash's."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `ok` is None where no result was journalled. Times are seconds; `children` are folder names."""

    id: str
    tool: str
    arguments: str
    content: str = ""
    ok: bool | None = None
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


@dataclass(slots=True)
class _Draft:
    """A turn whose calls are being answered."""

    record: Record
    number: int
    calls: list[Call]
    children: dict[int, list[str]] = field(default_factory=dict)

    def answer(self, record: Record) -> None:
        """The first result counts: a second is the same one, shortened."""
        wanted = record["message"]["tool_call_id"]
        for place, call in enumerate(self.calls):
            if call.id == wanted and call.ok is None:
                self.calls[place] = _answered(call, record)
                return

    def start_child(self, folder: str) -> None:
        """Calls run in order: the first without a result is the one that runs."""
        running = next((place for place, call in enumerate(self.calls) if call.ok is None), len(self.calls) - 1)
        self.children.setdefault(running, []).append(folder)

    def done(self) -> Turn:
        record, message = self.record, self.record["message"]
        calls = (
            Call(c.id, c.tool, c.arguments, c.content, c.ok, c.started, c.ended, tuple(self.children.get(place, ())))
            for place, c in enumerate(self.calls)
        )
        return Turn(
            record["id"],
            self.number,
            record["ts"] - record.get("duration", 0.0),
            record["ts"],
            _text(message.get("content")) or _text(message.get("refusal")),
            _text(message.get("reasoning_content")) or _text(message.get("reasoning")),
            usage_read(record["usage"]),
            record["finish_reason"],
            tuple(calls),
        )


def _answered(call: Call, record: Record) -> Call:
    ended = record["ts"]
    started = ended - record["duration"] if "duration" in record else None
    return Call(call.id, call.tool, call.arguments, record["message"]["content"], record["ok"], started, ended)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def tell(records: Iterable[Record]) -> tuple[Item, ...]:
    """The items of a journal, in order. Sub-agents are found in the calls that started them."""
    items: list[Item | _Draft] = []
    turns, newest = 0, None
    for record in records:
        match record["type"], record.get("message", {}).get("role"):
            case "message", "assistant":
                turns += not record.get("aside")
                newest = _Draft(record, 0 if record.get("aside") else turns, _calls(record))
                items.append(newest)
            case "message", "tool":
                if newest:
                    newest.answer(record)
            case "message", role:
                kind = "system" if role == "system" else record.get("kind", "task")
                items.append(Words(record["id"], record["ts"], kind, record["message"]["content"]))
            case "agent_start", _:
                if newest:
                    newest.start_child(record["folder"])
            case "agent_end", _:
                pass
            case type, _:
                items.append(Mark(record["id"], record["ts"], type, record))
    return tuple(item.done() if isinstance(item, _Draft) else item for item in items)


def _calls(record: Record) -> list[Call]:
    calls = record["message"].get("tool_calls") or ()
    return [Call(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]
