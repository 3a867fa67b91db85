"""Put a streamed message together: the same body as the whole form has. No I/O."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from rlm.messages import Wire
from rlm.models.faults import Breakdown, inside

_NAMES = frozenset({"role", "id", "type", "index", "name", "format"})
"""Strings that some providers repeat in every piece, where others come in pieces."""


_NO_USAGE = re.compile(r"stream_options|include_usage")
_NO_STREAM = re.compile(
    r"\b(cannot|can't|not|unsupported|unable)\b.{0,80}\bstream(ing)?\b"
    r"|\bstream(ing)?\b.{0,80}(\bnot\b|unsupported|false)"
)


@dataclass(slots=True)
class Streams:
    """What an endpoint is known to take. Learnt from its refusals."""

    possible: bool = True
    with_usage: bool = True

    def concede(self, status: int, text: str, *, with_usage: bool) -> bool:
        """Whether a refused stream is worth another try without what was refused."""
        if status not in (400, 422, 500, 501):
            return False
        if with_usage and _NO_USAGE.search(text.lower()):
            self.with_usage = False
            return True
        refused = _NO_STREAM.search(text.lower()) is not None
        self.possible = self.possible and not refused
        return refused


class Assembler:
    """Takes chunks in order; `body()` is the completion."""

    def __init__(self) -> None:
        self._message: Wire = {}
        self._calls: list[Wire] = []
        self._places: dict[Any, int] = {}
        self._finish: Any = None
        self._usage: Any = None

    def add(self, chunk: Any) -> str:
        """Returns the text that the chunk adds.

        Raises:
            Refusal, Breakdown: it is none.
        """
        if not isinstance(chunk, dict):
            raise Breakdown("the stream holds something that is no JSON object")
        if chunk.get("error"):
            raise inside(chunk["error"])
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(choice, dict):
            raise Breakdown("the stream holds no message")
        self._finish = choice.get("finish_reason") or self._finish
        return self._add(choice.get("delta") or choice.get("message") or {})

    def body(self) -> Wire:
        """
        Raises:
            Breakdown: the stream ended before the message did.
        """
        if self._finish is None:
            raise Breakdown("the stream broke off")
        calls = {"tool_calls": self._calls} if self._calls else {}
        choice = {"message": self._message | calls, "finish_reason": self._finish}
        return {"choices": [choice], "usage": self._usage}

    def _add(self, delta: Wire) -> str:
        for piece in delta.get("tool_calls") or ():
            if not isinstance(piece, dict):
                raise Breakdown("the stream holds a tool call that is none")
            self._add_call(piece)
        merge(self._message, {name: value for name, value in delta.items() if name != "tool_calls"})
        content = delta.get("content")
        return content if isinstance(content, str) else ""

    def _add_call(self, piece: Wire) -> None:
        place = self._place(piece)
        merge(self._calls[place], {name: value for name, value in piece.items() if name != "index"})

    def _place(self, piece: Wire) -> int:
        """Which call a piece belongs to: by its index, where that can be."""
        index = piece.get("index")
        last = len(self._calls) - 1 if index is None and not piece.get("id") and self._calls else None
        place = self._places.get(index, last)
        if place is None or _begins_another(piece, self._calls[place]):
            self._calls.append({})
            place = self._places[index] = len(self._calls) - 1
        return place


def _begins_another(piece: Wire, call: Wire) -> bool:
    """Some give every call the index 0, or none: then another id begins a call, or another whole call does."""
    id_, other = piece.get("id"), call.get("id")
    if id_ and other:
        return bool(id_ != other)
    function = piece.get("function") or {}
    return bool(function.get("name") and function.get("arguments")) and _is_whole(call)


def _is_whole(call: Wire) -> bool:
    try:
        return isinstance(json.loads(call["function"]["arguments"]), dict)
    except (KeyError, TypeError, ValueError):
        return False


def merge(whole: Wire, piece: Wire) -> None:
    """Add a piece of a message: texts are joined, objects merged, lists matched by `index` or else extended."""
    for name, value in piece.items():
        have = whole.get(name)
        if value is None:
            continue
        if isinstance(have, str) and isinstance(value, str):
            whole[name] = (value or have) if name in _NAMES else have + value
        elif isinstance(have, dict) and isinstance(value, dict):
            merge(have, value)
        elif isinstance(have, list) and isinstance(value, list):
            _extend(have, value)
        else:
            whole[name] = _copy(value)


def _extend(whole: list[Any], pieces: list[Any]) -> None:
    for piece in pieces:
        same = [item for item in whole if _index(piece) is not None and _index(item) == _index(piece)]
        if same:
            merge(same[0], piece)
        else:
            whole.append(_copy(piece))


def _index(item: Any) -> Any:
    return item.get("index") if isinstance(item, dict) else None


def _copy(value: Any) -> Any:
    """A chunk is not ours to change."""
    if isinstance(value, dict):
        return {name: _copy(part) for name, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else value
