"""Shortens a text: to head and tail with a note between them, or to the beginning of one line."""

from __future__ import annotations


def clip(text: str, limit: int, where: str = "") -> str:
    """Return at most `limit` characters of `text`, plus the note. `where` is the place of the whole text."""
    if len(text) <= limit:
        return text
    head = limit - limit // 2
    return join(text[:head], len(text) - limit, text[len(text) - limit // 2 :], where)


def join(head: str, missing: int, tail: str, where: str = "") -> str:
    """Return head, note and tail. The note says how many characters are missing and where the whole is."""
    whole = f"; the full text is in {where}" if where else ""
    return f"{head}\n[… {missing:,} characters left out{whole} …]\n{tail}"


def one_line(text: str, longest: int) -> str:
    """Return the words of `text` on one line, at most `longest` characters."""
    line = " ".join(text[: 8 * longest].split())
    whole = len(text) <= 8 * longest and len(line) <= longest
    return line if whole else f"{line[: longest - 1]}…"
