"""Python as cells have it: with `!commands`, `%magics` and `help?`, which to Python alone are syntax errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Name, Text, _TokenType

_SHELL_OR_MAGIC = re.compile(r"(?m)^(?:[ \t]*|[ \t]*[\w., \t]+=[ \t]*)([!%])(?=[\w!%({./~$'\"-])(?!=)")
_HELP = re.compile(r"(?m)^[ \t]*(\?{1,2})?[\w.*]+(\?{1,2})?[ \t]*$")
_CELL_MAGIC = re.compile(r"\s*%%(\w+).*\n?")
_PYTHON = ("time", "timeit", "capture", "prun")
_SHELL = ("bash", "sh", "script")
"""Cell magics by what their body is in; that of the others is left as it is."""

Token = tuple[_TokenType, str]


def tokens(text: str, language: str) -> Iterator[Token]:
    """The tokens of code; `python` is that of cells."""
    magic = _CELL_MAGIC.match(text) if language == "python" else None
    if language != "python":
        yield from _lexed(text, language)
    elif magic is None or magic[1] in _PYTHON:
        yield from _python_tokens(text)
    else:
        yield Name.Builtin, magic[0]
        body = text[magic.end() :]
        yield from _lexed(body, "bash") if magic[1] in _SHELL else [(Text, body)]


def _python_tokens(text: str) -> Iterator[Token]:
    """What is no Python is lexed as a comment of the same length, and given back as it was."""
    place = 0
    for token, piece in _lexed(_masked(text), "python"):
        own = text[place : place + len(piece)]
        place += len(piece)
        yield Name.Builtin if own != piece and token in Comment else token, own


def _lexed(text: str, language: str) -> Iterator[Token]:
    yield from ((token, piece) for _, token, piece in _lexer(language).get_tokens_unprocessed(text))


@cache
def _lexer(language: str) -> Lexer:
    return get_lexer_by_name(language)


def _masked(text: str) -> str:
    """The same with a `#` in place of each sign that begins what is no Python."""
    places = [found.start(1) for found in _SHELL_OR_MAGIC.finditer(text)]
    for found in _HELP.finditer(text):
        places += [found.start(group) for group in (1, 2) if found[group]]
    signs = list(text)
    for place in places:
        signs[place] = "#"
    return "".join(signs)
