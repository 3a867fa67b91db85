"""The change of a call of the tool `edit`, as a diff."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from rlm.text.styled import Span, Style

if TYPE_CHECKING:
    from rlm.sessions.transcript import TranscriptCall

_COMPARED = 20_000
"""Maximum characters to compare; for longer texts all lines count as different, because a comparison is slow."""


def edit_diff(call: TranscriptCall) -> str:
    """The diff of a call; empty if the call is no edit, or lacks an argument."""
    return diff_of(call.values) if call.tool == "edit" else ""


def edit_size(arguments: dict[str, Any]) -> str:
    """`+4 −1`: the number of lines that the call changes."""
    lines = diff_of(arguments).split("\n")[2:]
    return " ".join(f"{sign}{sum(line.startswith(of) for line in lines)}" for sign, of in (("+", "+"), ("−", "-")))


def diff_of(arguments: dict[str, Any]) -> str:
    """The change that the arguments describe, without line numbers, which are unknown.

    Empty if an argument is missing.
    """
    path, old, new = (arguments.get(name) for name in ("path", "old_str", "new_str"))
    if not (isinstance(path, str) and isinstance(old, str) and isinstance(new, str)):
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
    ends = ["\n"] * (len(lines) - 1) + [""]
    styles = [Style.DIM, Style.DIM, *(_STYLES.get(line[:1], Style.PLAIN) for line in lines[2:])]
    return [Span(line + end, style) for line, end, style in zip(lines, ends, styles, strict=False)]


_STYLES = {"+": Style.GREEN, "-": Style.RED}
