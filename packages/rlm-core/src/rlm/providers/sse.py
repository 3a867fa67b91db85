"""Decode server-sent events from bytes in pieces of any size (WHATWG HTML, section 9.2). Pure.

The SDK's own decoder fails on events without data, on a byte order mark and on a bare CR. This decoder accepts two
errors of providers that the standard does not: a last event without its blank line, and a missing blank line between
two events.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

DONE = "[DONE]"
"""The data of the event that ends an OpenAI stream."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_PREAMBLE = re.compile(r"\A\s*(?:(?::[^\r\n]*)?[\r\n]\s*)*")  # blanks and keep-alive comments at the start
_FIELD = re.compile(r"(data|event|id|retry)\s*:")
_LONGEST_FIELD = len("event:")
_DECODER = json.JSONDecoder()


class SSEDecoder:
    """Take the bytes of a body in order, and yield the data of each event that has data."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._after_cr = False

    def feed(self, data: bytes, *, final: bool = False) -> Iterator[str]:
        text = self._decoder.decode(data, final)
        if self._after_cr and text.startswith("\n"):  # the second half of a CRLF
            text = text[1:]
            self._after_cr = False
        if text:
            self._after_cr = text.endswith("\r")
        *lines, rest = _LINE_END.split(text)
        for line in lines:
            yield from self._take("".join((*self._line, line)))
            self._line.clear()
        if rest:
            self._line.append(rest)

    def end(self) -> Iterator[str]:
        """Yield the last event, if its blank line is missing at the end of the body."""
        yield from self.feed(b"\n\n", final=True)

    def _take(self, line: str) -> Iterator[str]:
        name, _, value = line.partition(":")
        if line == "" and self._data:
            yield "\n".join(self._data)
            self._data.clear()
        elif name == "data":
            self._data.append(value.removeprefix(" "))


def payloads(data: str) -> Iterator[Any]:
    """Yield the JSON values of an event: one, or several if the blank lines between events are missing.

    Raises:
        ValueError: it is not JSON.
    """
    rest = data.strip()
    while rest not in ("", DONE):
        value, end = _DECODER.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip().removeprefix(DONE).lstrip()


def kind_of(start: bytes) -> Literal["events", "whole"] | None:
    """Return the form of a body by its first bytes, regardless of its Content-Type; None if they are too few."""
    begins = _PREAMBLE.sub("", start.decode("utf-8-sig", "replace"), count=1)
    if _FIELD.match(begins):
        return "events"
    undecided = begins.startswith(":") or (len(begins) < _LONGEST_FIELD and not begins.startswith(("{", "[")))
    return None if undecided else "whole"


def whole(text: str) -> Any:
    """Return the JSON of a body without a stream. Some servers send a comment before it, or `data: [DONE]` after it.

    Raises:
        ValueError: it is not JSON, or other data follows.
    """
    text = _PREAMBLE.sub("", text.removeprefix("\ufeff"), count=1)
    value, end = _DECODER.raw_decode(text)
    if text[end:].strip() not in ("", DONE, f"data: {DONE}", f"data:{DONE}"):
        raise ValueError("something follows the JSON")
    return value
