"""Tables that cells displayed. The session's outputs hold their HTML; it is found by the text of the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from rlm.process import files

LARGEST = 1_000_000
"""Maximum bytes of such a file."""
MOST = 1_000
_NAME = re.compile(r"[\w.-]+-table(?:-\d+)?\.json")


@lru_cache(maxsize=8)
def saved_tables(folder: Path) -> tuple[tuple[str, str], ...]:
    """The text and HTML of each table in the outputs of a session. Unreadable files are skipped."""
    try:
        names = sorted(each.name for each in (folder / "outputs").iterdir() if _NAME.fullmatch(each.name))
    except OSError:
        return ()
    return tuple(dict(_read(folder / "outputs" / name) for name in names[:MOST]).items() - {("", "")})


def _read(path: Path) -> tuple[str, str]:
    try:
        bundle = json.loads(files.read(path, limit=LARGEST))
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
