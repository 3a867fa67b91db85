"""What a line of the screen says of a call, an agent or a text."""

from __future__ import annotations

from rlm.core.messages import Usage
from rlm.present.humanize import count, many, tokens
from rlm.sessions.records import DisplayRecord, WritingRecord

_CHARACTERS = 4
"""Of a token, about."""


def spent(turns: int, usage: Usage | None = None) -> str:
    """Turns, and tokens if they are given, in columns that are empty before the first turn."""
    worked = f"{turns:>4} {'turn' if turns == 1 else 'turns':<5}" if turns else " " * 10
    if usage is None:
        return worked
    return worked + f"{tokens(usage) if turns else '':>19}"


def short(path: str) -> str:
    """`root/sub-1a2b3c4d/sub-5e6f7a8b` as `1a2b/5e6f`."""
    names = path.split("/")[1:]
    return "/".join(name.removeprefix("sub-")[:4] for name in names)


def writing(record: WritingRecord) -> str:
    """`reasoning · ~312 tokens`, `writing cell · 41 lines`."""
    if record.what == "reasoning":
        return f"reasoning · ~{count(-(-record.characters // _CHARACTERS))} tokens"
    return f"writing cell · {many(record.lines, 'line')}"


def sign(record: DisplayRecord) -> str:
    """That a cell shows something."""
    return f"→ {record.picture}" if record.picture else f"table {record.rows} × {record.columns}"
