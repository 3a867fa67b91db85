"""One line of the screen: styled pieces of text, cleaned, fitted to a width and painted. Every text passes here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate

from rlm.terminal import plain


class Style(StrEnum):
    """The value is what the escape sequence says."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    CYAN = "36"


@dataclass(frozen=True, slots=True)
class Span:
    text: str
    style: Style = Style.PLAIN


@dataclass(frozen=True, slots=True)
class Row:
    """`tail` stands at the right edge, and `spans` give way to it. A row without a tail is as long as it is."""

    spans: tuple[Span, ...]
    tail: tuple[Span, ...] = ()


SPACES = str.maketrans("\n\t\r", "   ")


def clean(text: str) -> str:
    """Foreign text as one line that can do nothing to a terminal."""
    return plain(text).translate(SPACES)


@lru_cache(maxsize=4096)
def _columns_of(character: str) -> int:
    """Rather too many than too few: terminals differ, and a row that is too long breaks the frame."""
    if character in "\u00ad\ufe0f":  # a soft hyphen is drawn; what the selector follows becomes a wide picture
        return 1
    if character >= "\U0001f000":
        return 2
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def columns(text: str) -> int:
    """How many columns a cleaned text takes."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def head(text: str, width: int) -> str:
    """As much of the beginning of a cleaned text as `width` columns hold."""
    if columns(text) <= width:
        return text
    widths = accumulate(map(_columns_of, text))
    return text[: next(index for index, reached in enumerate(widths) if reached > width)]


def clip(text: str, width: int) -> str:
    """At most `width` columns of a cleaned text, and a sign where there was more."""
    if columns(text) <= width:
        return text
    return f"{head(text, width - 1)}…" if width > 0 else ""


def wrap(text: str, width: int) -> list[str]:
    """A cleaned text in pieces of at most `width` columns (two or more), between words where that can be."""
    pieces = []
    while columns(text) > width:
        piece = head(text, width)
        pieces.append(text[: piece.rfind(" ") + 1] or piece or text[0])
        text = text[len(pieces[-1]) :]
    return [*pieces, text]


def pad(text: str, width: int) -> str:
    """Exactly `width` columns."""
    clipped = clip(text, width)
    return clipped + " " * (width - columns(clipped))


def fit(row: Row, width: int, *, crop: bool = False) -> Row:
    """The row cleaned, and no wider than `width` columns if it has a tail, or must be cropped."""
    spans = tuple(Span(clean(span.text), span.style) for span in row.spans)
    tail = tuple(Span(clean(span.text), span.style) for span in row.tail)
    if not tail:
        return Row(tuple(_clipped(spans, width)) if crop else spans)
    room = max(0, width - measure(tail) - 2)
    kept = tuple(_clipped(spans, room))
    fitted = (*kept, Span(" " * (room - measure(kept) + 2)), *tail)
    return Row(tuple(_clipped(fitted, width)))


def measure(spans: tuple[Span, ...]) -> int:
    return sum(columns(span.text) for span in spans)


def _clipped(spans: tuple[Span, ...], width: int) -> Iterator[Span]:
    room = width
    for span in spans:
        text = clip(span.text, room)
        if text:
            yield Span(text, span.style)
        if text != span.text:
            return
        room -= columns(text)


def paint(row: Row, *, color: bool) -> str:
    """The text of a fitted row, with escape sequences if `color`."""
    return "".join(
        f"\x1b[{span.style}m{span.text}\x1b[0m" if color and span.style else span.text
        for span in (*row.spans, *row.tail)
    )
