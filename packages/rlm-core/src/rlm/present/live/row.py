"""One line of the screen: styled pieces of text, cleaned, fitted to a width and painted.

All text passes through here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rlm.text.styled import Span, clip, columns, painted, wrap_words
from rlm.text.terminal import plain

_GAP = Span("  ")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the screen.

    `tail` is aligned to the right edge, and `spans` are shortened for it; without a tail there is no limit. `most`:
    maximum lines on a terminal; 0 means no limit. `below` follows `spans` on the same line if both fit, else on its own
    lines. `picture` is the path of a picture to show below, if the terminal can.
    """

    spans: tuple[Span, ...]
    tail: tuple[Span, ...] = ()
    most: int = 0
    below: tuple[Span, ...] = ()
    gap: Span = _GAP
    """The gap between `spans` and `below` on one line."""
    picture: str = ""


SPACES = str.maketrans("\n\t\r", "   ")


def clean(text: str) -> str:
    """Convert foreign text to one line without terminal control sequences."""
    return plain(text).translate(SPACES)


def fit(row: Row, width: int, *, crop: bool = False) -> Row:
    """Clean the row. If it has a tail or `crop` is set, limit it to `width` columns."""
    spans = tuple(Span(clean(span.text), span.style) for span in row.spans)
    tail = tuple(Span(clean(span.text), span.style) for span in row.tail)
    if not tail:
        return Row(tuple(_clipped(spans, width)) if crop else spans)
    room = max(0, width - measure(tail) - 2)
    kept = tuple(_clipped(spans, room))
    fitted = (*kept, Span(" " * (room - measure(kept) + 2)), *tail)
    return Row(tuple(_clipped(fitted, width)))


def wrap(row: Row, width: int) -> list[Row]:
    """Split a row into lines of at most `width` columns. A row without a tail is wrapped between words."""
    if row.below:
        return _with_below(row, width)
    fitted = fit(row, width)
    if row.tail or measure(fitted.spans) <= width:
        return [fitted]
    text = "".join(span.text for span in fitted.spans)
    indent = min(len(text) - len(text.lstrip(" ")) + 2, width // 2)
    first, *rest = wrap_words(fitted.spans, width, rest=width - indent)
    lines = [Row(tuple(first)), *(Row((Span(" " * indent), *piece)) for piece in rest)]
    if row.most and len(lines) > row.most:
        last = lines[row.most - 1].spans
        lines[row.most - 1 :] = [Row((*_clipped(last, width - 2), Span(" …", last[-1].style)))]
    return lines


def _with_below(row: Row, width: int) -> list[Row]:
    spans = (*row.spans, row.gap, *row.below)
    if sum(columns(clean(span.text)) for span in (*spans, *row.tail)) + 2 * bool(row.tail) <= width:
        return [fit(Row(spans, row.tail), width)]
    indent = Span(" " * (_INDENT if row.tail else 2))
    return [*wrap(Row(row.spans, row.tail), width), *wrap(Row((indent, *row.below), most=row.most), width)]


_INDENT = 6
"""Columns of indentation of a continuation line."""


def measure(spans: tuple[Span, ...]) -> int:
    """The columns of cleaned spans."""
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
