"""What a kernel answers beside its cells: completions and values. It may answer anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlm.kernel.protocol import Object

MOST_MATCHES = 1_000
LONGEST = 20_000
"""Characters of a value."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What may stand in place of the characters from `start` to `end`."""

    matches: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


def completion_of(reply: Object) -> Completion:
    """Of a complete_reply."""
    matches, start, end = reply.get("matches"), reply.get("cursor_start"), reply.get("cursor_end")
    if not isinstance(matches, list) or type(start) is not int or type(end) is not int or start < 0 or end < start:
        return Completion()
    return Completion(tuple(text[:200] for text in matches[:MOST_MATCHES] if isinstance(text, str)), start, end)


def value_of(reply: Object) -> str:
    """Of an execute_reply with one expression."""
    value = _object(_object(reply.get("user_expressions")).get("value"))
    if value.get("status") == "error":
        return f"{value.get('ename')}: {value.get('evalue')}"[:LONGEST]
    text = _object(value.get("data")).get("text/plain")
    return text[:LONGEST] if isinstance(text, str) else ""


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}
