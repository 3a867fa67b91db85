"""What a call of the tool `edit` changes, as a diff."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff

from rlm.sessions.transcript import TranscriptCall
from rlm.text.styled import Span, Style

_COMPARED = 20_000
"""Characters; of longer texts all lines are said to differ, for to compare them is slow."""


def edit_diff(call: TranscriptCall) -> str:
    """Without line numbers, which nobody knows; empty for a call that is no edit, or has not all arguments."""
    path, old, new = (call.given.get(name) for name in ("path", "old_str", "new_str"))
    if call.tool != "edit" or not (isinstance(path, str) and isinstance(old, str) and isinstance(new, str)):
        return ""
    return "\n".join([f"--- {path}", f"+++ {path}", *_changes(old.splitlines(), new.splitlines(), len(old) + len(new))])


def _changes(old: list[str], new: list[str], size: int) -> Iterator[str]:
    if size > _COMPARED:
        yield from (f"-{line}" for line in old)
        yield from (f"+{line}" for line in new)
        return
    lines = list(unified_diff(old, new, n=max(len(old), len(new)), lineterm=""))
    yield from (line for line in lines[2:] if not line.startswith("@@"))


def painted_diff(diff: str) -> list[Span]:
    lines = diff.split("\n")
    return [Span(f"{line}\n" if number < len(lines) else line, _style(line)) for number, line in enumerate(lines, 1)]


def _style(line: str) -> Style:
    if line.startswith(("---", "+++")):
        return Style.DIM
    return {"+": Style.GREEN, "-": Style.RED}.get(line[:1], Style.PLAIN)
