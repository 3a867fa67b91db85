"""Shorten a text: head and tail stay, the middle becomes a note; or to a line, of which the beginning stays."""

from __future__ import annotations


def clip(text: str, limit: int, where: str = "") -> str:
    """At most `limit` characters of `text` plus the note. `where` says where the whole is."""
    if len(text) <= limit:
        return text
    head = limit - limit // 2
    return join(text[:head], len(text) - limit, text[len(text) - limit // 2 :], where)


def join(head: str, missing: int, tail: str, where: str = "") -> str:
    """Head, note, tail. The note says how many characters are missing and where the whole is."""
    whole = f"; the whole is in {where}" if where else ""
    return f"{head}\n[… {missing:,} characters left out{whole} …]\n{tail}"


def one_line(text: str, longest: int) -> str:
    """The words of `text` on one line, at most `longest` characters of it."""
    line = " ".join(text[: 8 * longest].split())
    whole = len(text) <= 8 * longest and len(line) <= longest
    return line if whole else f"{line[: longest - 1]}…"
