"""Code in the sixteen colours that every terminal has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from rlm.text.styled import Style

if TYPE_CHECKING:
    from pygments.lexer import Lexer

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
"""By the names of pygments' tokens; one without a style has that of its kind."""


def highlighted(code: str, language: str) -> Iterator[tuple[Style, str]]:
    for token, text in _lexer(language).get_tokens(code):
        yield _style(token), text


@cache
def _lexer(language: str) -> Lexer:
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


@cache
def _style(token: tuple[str, ...]) -> Style:
    """Of the nearest kind above the token, which is a tuple of names."""
    kinds = (".".join(token[:length]).removeprefix("Literal.") for length in range(len(token), 0, -1))
    return next((_STYLES[kind] for kind in kinds if kind in _STYLES), Style.PLAIN)
