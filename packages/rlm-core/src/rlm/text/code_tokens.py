"""Tokens of Python in cells, with `!commands`, `%magics` and `help?`, which are syntax errors in plain Python."""

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
"""Cell magics by the language of their body. The body of other magics stays unchanged."""

Token = tuple[_TokenType, str]


def tokens(text: str, language: str) -> Iterator[Token]:
    """Yield the tokens of code; `python` means the Python of cells."""
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
    """Yield tokens. Parts that are no Python are lexed as comments of the same length, and returned unchanged."""
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
    """Return the text with `#` instead of each character that starts a part that is no Python."""
    places = [found.start(1) for found in _SHELL_OR_MAGIC.finditer(text)]
    for found in _HELP.finditer(text):
        places += [found.start(group) for group in (1, 2) if found[group]]
    signs = list(text)
    for place in places:
        signs[place] = "#"
    return "".join(signs)
