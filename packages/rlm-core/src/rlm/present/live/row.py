"""One line of the screen: styled pieces of text, cleaned, fitted to a width and painted. Every text passes here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlm.text.styled import Span, clip, columns, painted
from rlm.text.terminal import plain


@dataclass(frozen=True, slots=True)
class Row:
    """`tail` stands at the right edge, and `spans` give way to it. A row without a tail is as long as it is."""

    spans: tuple[Span, ...]
    tail: tuple[Span, ...] = ()


SPACES = str.maketrans("\n\t\r", "   ")


def clean(text: str) -> str:
    """Foreign text as one line that can do nothing to a terminal."""
    return plain(text).translate(SPACES)


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
    return painted((*row.spans, *row.tail), color=color)
