"""Server-sent events from bytes that come in any pieces (WHATWG HTML, section 9.2). Pure.

The SDK has a decoder of its own, but that one fails on events without data, on a byte order mark and on a bare CR.
In two places this one is laxer than the standard, because providers are: an event that the end of the body cuts short
of its blank line counts, and a server may forget the blank line between two events.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

DONE = "[DONE]"
"""The data of the event that ends a stream of OpenAI's."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_PREAMBLE = re.compile(r"\s*(?:(?::[^\r\n]*)?[\r\n]\s*)*")  # blanks, and comments that keep a connection alive
_FIELD = re.compile(r"(data|event|id|retry)\s*:")
_LONGEST_FIELD = len("event:")
_DECODER = json.JSONDecoder()


class SSEDecoder:
    """Takes the bytes of a body in order and gives the data of each event that has any."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._line: list[str] = []
        self._data: list[str] = []
        self._after_cr = False

    def feed(self, data: bytes, *, final: bool = False) -> Iterator[str]:
        text = self._decoder.decode(data, final)
        if self._after_cr and text.startswith("\n"):  # a CRLF that was cut in two
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
        """What the end of the body cut short."""
        yield from self.feed(b"\n\n", final=True)

    def _take(self, line: str) -> Iterator[str]:
        name, _, value = line.partition(":")
        if line == "" and self._data:
            yield "\n".join(self._data)
            self._data.clear()
        elif name == "data":
            self._data.append(value.removeprefix(" "))


def payloads(data: str) -> Iterator[Any]:
    """The JSON of an event: one value, or several where the blank lines between events were forgotten.

    Raises:
        ValueError: it is not JSON.
    """
    rest = data.strip()
    while rest not in ("", DONE):
        value, end = _DECODER.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip().removeprefix(DONE).lstrip()


def kind_of(start: bytes) -> Literal["events", "whole"] | None:
    """What a body is by its first bytes, whatever its Content-Type says; None while they are too few to tell."""
    begins = _begins(start.decode("utf-8-sig", "replace"))
    if _FIELD.match(begins):
        return "events"
    undecided = begins.startswith(":") or (len(begins) < _LONGEST_FIELD and not begins.startswith(("{", "[")))
    return None if undecided else "whole"


def _begins(text: str) -> str:
    """What follows the blanks and comments at the start."""
    return text[_PREAMBLE.match(text).end() :]  # type: ignore[union-attr] # it matches the empty text, too


def whole(text: str) -> Any:
    """The JSON of a body that is no stream. Some send a comment before it, or `data: [DONE]` behind it.

    Raises:
        ValueError: it is not JSON, or there is more.
    """
    text = _begins(text.removeprefix("\ufeff"))
    value, end = _DECODER.raw_decode(text)
    if text[end:].strip() not in ("", DONE, f"data: {DONE}", f"data:{DONE}"):
        raise ValueError("something follows the JSON")
    return value
