"""Styled text in the columns of a terminal. `painted` writes all of it and removes every terminal control.

Code that must know the width of a foreign text cleans it first, with `rlm.text.terminal.plain`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache

from rlm.text.terminal import plain

NARROWEST = 20
"""The least number of columns for a text, whatever edges are before it."""


class Style(StrEnum):
    """A style. Its value is the parameter of the escape sequence."""

    PLAIN = ""
    BOLD = "1"
    DIM = "2"
    ITALIC = "3"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    BLUE = "34"
    MAGENTA = "35"
    CYAN = "36"
    BOLD_BLUE = "1;34"
    DIM_ITALIC = "2;3"


@dataclass(frozen=True, slots=True)
class Span:
    text: str
    style: Style = Style.PLAIN


@lru_cache(maxsize=4096)
def _columns_of(character: str) -> int:
    """Return the columns of a character, rather too many: terminals differ, and too long rows break the frame."""
    if character in "\u00ad\ufe0f":  # a soft hyphen is drawn; the selector makes the character before it a wide picture
        return 1
    if character >= "\U0001f000":
        return 2
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def columns(text: str) -> int:
    """Return the number of columns of a cleaned text."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def head(text: str, width: int) -> str:
    """Return the beginning of a cleaned text, at most `width` columns."""
    return text[: _reach(text, 0, width)]


def clip(text: str, width: int) -> str:
    """Return at most `width` columns of a cleaned text, with a sign if it was longer."""
    if columns(text) <= width:
        return text
    return f"{head(text, width - 1)}…" if width > 0 else ""


def wrap(text: str, width: int) -> list[str]:
    """Split a cleaned text into pieces of at most `width` columns (two or more), between words if possible."""
    pieces, start = [], 0
    while (end := _reach(text, start, width)) < len(text):
        cut = text.rfind(" ", start, end) + 1 or max(end, start + 1)
        pieces.append(text[start:cut])
        start = cut
    return [*pieces, text[start:]]


def _reach(text: str, start: int, width: int) -> int:
    """Return the end of the part that fits into `width` columns. It reads only that part: a line may have megabytes."""
    if text.isascii():
        return min(start + width, len(text))
    for end in range(start, len(text)):
        width -= _columns_of(text[end])
        if width < 0:
            return end
    return len(text)


def wrap_words(line: Sequence[Span], width: int, *, rest: int = 0) -> Iterator[list[Span]]:
    """Split a line into pieces of at most `width` columns, only between words: a wider word stays whole.

    Scripts without blanks are split at their wide characters. `rest`: columns of all pieces but the first.
    """
    text = "".join(span.text for span in line)
    start = 0
    while columns(text) > width and (end := _reach(text, start, (start and rest) or width)) < len(text):
        cut = _break(text, start, end)
        if cut == len(text):
            break
        yield list(_cut(line, start, start + len(text[start:cut].rstrip(" "))))
        start = cut
    yield list(_cut(line, start, len(text)))


def _break(text: str, start: int, end: int) -> int:
    """Return the start of the next piece: after the last blank, or before or after a wide character, up to `end`."""
    indent = start + len(text[start:]) - len(text[start:].lstrip(" "))
    for at in range(end, indent, -1):
        if text[at] == " ":
            return at + 1
        if at - 1 >= indent and (text[at - 1] == " " or _columns_of(text[at - 1]) == 2 or _columns_of(text[at]) == 2):
            return at
    after = text.find(" ", end)
    return len(text) if after < 0 else after + 1


def pad(text: str, width: int) -> str:
    """Return exactly `width` columns."""
    clipped = clip(text, width)
    return clipped + " " * (width - columns(clipped))


def painted(spans: Iterable[Span], *, color: bool) -> str:
    """Return a line, cleaned. With `color` it has escape sequences; no other code sends any to a terminal."""
    cleaned = ((plain(span.text).replace("\n", " "), span.style) for span in spans)
    return "".join(f"\x1b[{style}m{text}\x1b[0m" if color and style and text else text for text, style in cleaned)


@dataclass(frozen=True, slots=True)
class Canvas:
    """Writes styled text as lines: wrapped to a width, in colour or not."""

    write: Callable[[str], object]
    width: int = 80
    color: bool = False

    def put(self, spans: Sequence[Span], edges: Sequence[Span] = (), goes_on: Span | None = None) -> None:
        """Write a text of any number of lines, each after the edges. `goes_on` starts each continuation of a line."""
        edge, sign = painted(edges, color=self.color), painted([goes_on] if goes_on else [], color=self.color)
        width = max(NARROWEST, self.width - sum(columns(each.text) for each in edges))
        for line in split_lines(spans):
            if goes_on is None or columns("".join(span.text for span in line).expandtabs()) <= width:
                pieces = _wrapped(line, width)
            else:
                pieces = _wrapped(line, max(NARROWEST, width - columns(goes_on.text)))
            for number, piece in enumerate(pieces):
                self.write(f"{edge}{sign if number else ''}{painted(piece, color=self.color).rstrip(' ')}\n")

    def put_line(self, spans: Iterable[Span]) -> None:
        """Write one line, which must fit."""
        self.write(painted(spans, color=self.color).rstrip(" ") + "\n")


def split_lines(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Split spans into lines at their newlines."""
    line: list[Span] = []
    for span in spans:
        first, *others = span.text.split("\n")
        line.append(Span(first, span.style))
        for other in others:
            yield line
            line = [Span(other, span.style)]
    yield line


def _wrapped(line: list[Span], width: int) -> Iterator[list[Span]]:
    line = [Span(span.text.expandtabs(), span.style) for span in line]
    text = "".join(span.text for span in line)
    if columns(text) <= width:
        yield line
        return
    start = 0
    for piece in wrap(text, width):
        yield list(_cut(line, start, start + len(piece)))
        start += len(piece)


def _cut(line: Sequence[Span], start: int, end: int) -> Iterator[Span]:
    """Yield the spans of the characters from `start` to `end`."""
    place = 0
    for span in line:
        yield Span(span.text[max(0, start - place) : max(0, end - place)], span.style)
        place += len(span.text)


# ---- code, in the sixteen colours that every terminal has

_STYLES = {
    "Comment": Style.DIM,
    "Keyword": Style.BLUE,
    "Keyword.Namespace": Style.MAGENTA,
    "Name.Builtin": Style.CYAN,
    "Name.Class": Style.GREEN,
    "Name.Decorator": Style.MAGENTA,
    "Name.Exception": Style.CYAN,
    "Name.Function": Style.GREEN,
    "Name.Variable": Style.RED,
    "Number": Style.BLUE,
    "Operator.Word": Style.MAGENTA,
    "String": Style.YELLOW,
}
"""By the names of pygments' tokens; a token without a style has that of its parent."""


def highlighted(code: str, language: str) -> Iterator[tuple[Style, str]]:
    from rlm.text.code_tokens import tokens  # pygments is slow to import

    for token, text in tokens(code, language):
        yield _style(token), text


@cache
def _style(token: tuple[str, ...]) -> Style:
    """Return the style of a token (a tuple of names), or of its nearest parent with a style."""
    kinds = (".".join(token[:length]).removeprefix("Literal.") for length in range(len(token), 0, -1))
    return next((_STYLES[kind] for kind in kinds if kind in _STYLES), Style.PLAIN)
