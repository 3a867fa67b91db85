"""Numbers, times and activities as short texts for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from rlm.core.messages import Usage
from rlm.sessions.records import DisplayRecord, WritingRecord


def count(number: int) -> str:
    """`950`, `1.2k`, `84k`, `1.2M`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.1f}".removesuffix(".0") + unit if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return str(number)


def many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str], most: int | None) -> str:
    """`a, b, c and 4 more`: at most `most` names."""
    more = f" and {len(names) - most} more" if most is not None and len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def seconds(duration: float) -> str:
    """`20 ms`, `0.4 s`, `12 s`, `1m 04s`, `2h 05m`."""
    whole = round(duration)
    if duration < 0.095:
        return f"{duration * 1000:.0f} ms"
    if whole < 60:
        return f"{duration:.1f} s" if duration < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def ago(duration: float) -> str:
    """`now`, `5 min`, `3 h`, `12 d`: the time since something happened."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if duration >= size:
            return f"{duration // size:.0f} {unit}"
    return "now"


def cost(usage: Usage) -> str:
    """`$0.31`, `$0.0042`, `unpriced`; empty if no request was made."""
    if usage.cost is None:
        return "" if usage.empty else "unpriced"
    digits = 2 if usage.cost >= 0.095 or not usage.cost else 4
    amount = f"{usage.cost:,.{digits}f}" if usage.cost >= 0.00005 or not usage.cost else "0.0001"
    about = "~" if usage.estimated else "<" if 0 < usage.cost < 0.00005 else ""
    return f"{about}${amount}"


def tokens(usage: Usage, *, cached: bool = False) -> str:
    """`84k in (71k cached) / 6k out`."""
    about = "~" if usage.estimated else ""
    aside = f" ({count(usage.cached)} cached)" if cached and usage.cached else ""
    return f"{about}{count(usage.prompt)} in{aside} / {about}{count(usage.completion)} out"


_CHARACTERS = 4
"""Approximate characters per token."""


def spent(turns: int, usage: Usage | None = None) -> str:
    """Turns and, if given, tokens, in columns that are empty before the first turn."""
    worked = f"{turns:>4} {'turn' if turns == 1 else 'turns':<5}" if turns else " " * 10
    if usage is None:
        return worked
    return worked + f"{tokens(usage) if turns else '':>19}"


def lineage(path: str) -> Iterator[str]:
    """The path of an agent and of all agents above it, the root first."""
    return accumulate(path.split("/"), "{}/{}".format)


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
    """A note that a cell displays something."""
    return f"→ {record.picture}" if record.picture else f"table {record.rows} × {record.columns}"
