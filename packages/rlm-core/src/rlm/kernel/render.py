"""Convert Jupyter messages to the text and pictures that a model reads. Pure functions; no message is trusted."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from rlm.kernel.protocol import Message, Object

_ENDINGS = {"png": "png", "jpeg": "jpg", "gif": "gif", "webp": "webp", "svg+xml": "svg", "bmp": "bmp", "tiff": "tiff"}
# the default repr of Python and of IPython, for an object without its own repr
_NO_TEXT = re.compile(r"<[\w.<>]+ (object( at 0x[0-9a-f]+)?|at 0x[0-9a-f]+)>")
_MOST = 10**12  # maximum rows, and columns, of a table
_ID = 200  # maximum characters of a display's id
_TEXTS = ("text/markdown", "text/latex")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture. `ending` is the file name extension."""

    data: bytes
    ending: str


@dataclass(frozen=True, slots=True)
class Display:
    """A display of a cell. A later message can update a display that has an `id`."""

    text: str
    picture: Picture | None = None
    table: tuple[int, int] | None = None
    """Rows and columns."""
    html: str = ""
    """The HTML of the table."""
    id: str = ""
    again: bool = False


def stream(message: Message) -> str:
    return _text(message.content.get("text"))


def error(message: Message) -> str:
    """Return the traceback."""
    lines = message.content.get("traceback")
    text = "\n".join(map(_text, lines)) if isinstance(lines, list) else ""
    return f"{text}\n" if text else ""


def display(message: Message) -> Display:
    data = _object(message.content.get("data"))
    text = _text(data.get("text/plain"))
    if not text or _NO_TEXT.fullmatch(text):
        text = next((_text(data[kind]) for kind in _TEXTS if data.get(kind)), text)
    shown = _text(_object(message.content.get("transient")).get("display_id"))
    again = message.kind == "update_display_data"
    table = _table(data.get("application/vnd.rlm.table"))
    return Display(text, _picture(data), table, _text(data.get("text/html")) if table else "", shown[:_ID], again)


def _picture(data: Object) -> Picture | None:
    for kind, value in data.items():
        family, _, name = kind.partition("/")
        if family == "image" and name in _ENDINGS and isinstance(value, str):
            try:
                raw = value.encode() if name == "svg+xml" else base64.b64decode(value)
            except ValueError:
                continue
            return Picture(raw, _ENDINGS[name])
    return None


def _table(size: Any) -> tuple[int, int] | None:
    """Return the rows and columns that `rlm.inside.html_text.table_size` has sent, or None if they are not valid."""
    if not isinstance(size, list) or len(size) != 2 or not all(type(each) is int for each in size):
        return None
    rows, columns = size
    return (rows, columns) if 0 <= rows < _MOST and 0 <= columns < _MOST else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(piece for piece in value if isinstance(piece, str))
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


# ---- replies to other requests than cells: completions and values

MOST_MATCHES = 1_000
LONGEST = 20_000
"""Maximum characters of a value."""


@dataclass(frozen=True, slots=True)
class Completion:
    """Texts that can replace the characters from `start` to `end`."""

    matches: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


def completion_of(reply: Object) -> Completion:
    """Read a complete_reply."""
    matches, start, end = reply.get("matches"), reply.get("cursor_start"), reply.get("cursor_end")
    if not isinstance(matches, list) or type(start) is not int or type(end) is not int or start < 0 or end < start:
        return Completion()
    return Completion(tuple(text[:200] for text in matches[:MOST_MATCHES] if isinstance(text, str)), start, end)


def value_of(reply: Object) -> str:
    """Read an execute_reply that has one user expression."""
    value = _object(_object(reply.get("user_expressions")).get("value"))
    if value.get("status") == "error":
        return f"{value.get('ename')}: {value.get('evalue')}"[:LONGEST]
    text = _object(value.get("data")).get("text/plain")
    return text[:LONGEST] if isinstance(text, str) else ""
