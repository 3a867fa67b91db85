"""Python as cells have it: with `!commands`, `%magics` and `help?`, which to Python alone are syntax errors."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pygments.lexers import BashLexer, PythonLexer
from pygments.token import Comment, Name, Text, _TokenType

_SHELL_OR_MAGIC = re.compile(r"(?m)^(?:[ \t]*|[ \t]*[\w., \t]+=[ \t]*)([!%])(?=[\w!%({./~$'\"-])(?!=)")
_HELP = re.compile(r"(?m)^[ \t]*(\?{1,2})?[\w.*]+(\?{1,2})?[ \t]*$")
_CELL_MAGIC = re.compile(r"\s*%%(\w+).*\n?")
_PYTHON = ("time", "timeit", "capture", "prun")
_SHELL = ("bash", "sh", "script")
"""Cell magics by what their body is in; that of the others is left as it is."""

Token = tuple[int, _TokenType, str]


class CellLexer(PythonLexer):
    """What is no Python is lexed as a comment of the same length, and given back as it was."""

    def get_tokens_unprocessed(self, text: str, *stack: tuple[str, ...]) -> Iterator[Token]:
        magic = _CELL_MAGIC.match(text)
        if magic is None or magic[1] in _PYTHON:
            yield from self._cell(text, *stack)
            return
        yield 0, Name.Builtin, magic[0]
        start = magic.end()
        if magic[1] in _SHELL:
            body = BashLexer(stripnl=False, ensurenl=False).get_tokens_unprocessed(text[start:])
            yield from ((start + index, token, piece) for index, token, piece in body)
        else:
            yield start, Text, text[start:]

    def _cell(self, text: str, *stack: tuple[str, ...]) -> Iterator[Token]:
        masked = _masked(text)
        for index, token, piece in super().get_tokens_unprocessed(masked, *stack):
            own = text[index : index + len(piece)]
            yield index, Name.Builtin if own != piece and token in Comment else token, own


def _masked(text: str) -> str:
    """The same with a `#` in place of each sign that begins what is no Python."""
    places = [found.start(1) for found in _SHELL_OR_MAGIC.finditer(text)]
    for found in _HELP.finditer(text):
        places += [found.start(group) for group in (1, 2) if found[group]]
    signs = list(text)
    for place in places:
        signs[place] = "#"
    return "".join(signs)
