"""What cells displayed: the pictures and tables in the outputs of a session. Nothing is loaded from elsewhere.

A result names its pictures. The HTML of a table is found by the text of the table.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from rlm.process import files

LARGEST_PICTURE = 5_000_000
"""Bytes. A larger picture is named and not shown."""

_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_SAVED = re.compile(r"\[picture: [^\]\n]*?outputs/([\w.-]+\.(?:png|jpe?g|gif|webp))\]")
_URI = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/=\s]+)")


def saved_pictures(text: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and URI of each picture that a result names and that exists in the session's outputs."""
    for name in dict.fromkeys(_SAVED.findall(text)):
        try:
            data = files.read(folder / "outputs" / name, limit=LARGEST_PICTURE)
        except OSError:
            continue
        kind = _TYPES[name.rpartition(".")[2]]
        yield name, f"data:{kind};base64,{base64.b64encode(data).decode()}"


def split_uri(uri: str) -> tuple[str, str] | None:
    """Return the media type and base64 text of an allowed picture; None for any other URI."""
    found = _URI.fullmatch(uri)
    return (found[1], "".join(found[2].split())) if found and len(uri) <= 2 * LARGEST_PICTURE else None


# ---- tables

LARGEST_TABLE = 1_000_000
"""Maximum bytes of such a file."""
MOST_TABLES = 1_000
_NAME = re.compile(r"[\w.-]+-table(?:-\d+)?\.json")


@lru_cache(maxsize=8)
def saved_tables(folder: Path) -> tuple[tuple[str, str], ...]:
    """The text and HTML of each table in the outputs of a session. Unreadable files are skipped."""
    try:
        names = sorted(each.name for each in (folder / "outputs").iterdir() if _NAME.fullmatch(each.name))
    except OSError:
        return ()
    return tuple(dict(_read(folder / "outputs" / name) for name in names[:MOST_TABLES]).items() - {("", "")})


def _read(path: Path) -> tuple[str, str]:
    try:
        bundle = json.loads(files.read(path, limit=LARGEST_TABLE))
        text, html = bundle["text/plain"].strip("\n"), bundle["text/html"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", ""
    return (text, html) if text.strip() and isinstance(html, str) else ("", "")


def with_tables(text: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Split a text into pieces. A piece that is a table comes with its HTML, other pieces with an empty string."""
    rest = text
    while found := _first(rest, folder):
        place, table, html = found
        yield rest[:place], ""
        yield table, html
        rest = rest[place + len(table) :].removeprefix("\n")
    yield rest, ""


def _first(text: str, folder: Path) -> tuple[int, str, str] | None:
    """Find the first table in a text; it must stand on its own lines."""
    lines = f"\n{text}\n"
    places = ((lines.find(f"\n{table}\n"), table, html) for table, html in saved_tables(folder))
    return min((found for found in places if found[0] >= 0), default=None)
