"""A session in brief: one line for each agent."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rlm.present.describe import first_line, status_style, status_text
from rlm.present.humanize import count, many, seconds
from rlm.present.outcomes import call_outcome
from rlm.present.show import clean
from rlm.sessions import journal
from rlm.sessions.records import MessageRecord
from rlm.sessions.store import SessionTree
from rlm.text.styled import Canvas, Span, Style, clip, columns
from rlm.text.terminal import plain

_GAP = "  "
_LEAST = 32
"""Minimum columns for the task and the reason of a failure."""
_FIRST_TO_GO = ("tokens", "turns", "time")
_RIGHT = ("turns", "tokens", "time")


def failed_agents(tree: SessionTree) -> frozenset[str]:
    """The agents that failed, that had a failed call, or whose cell ran a failed command or test."""
    return frozenset(each.agent for each in tree.walk() if _failed(each))


def _failed(tree: SessionTree) -> bool:
    if tree.meta.status not in ("done", "running") or tree.meta.metrics.get("failed_calls", 0) > 0:
        return True
    results = (record for record in journal.records_of(tree.folder, MessageRecord) if record.role == "tool")
    return any(
        call_outcome(str(each.message["content"]), ok=each.ok is not False, exit_status=each.exit_status).failure
        for each in results
    )


def show_brief(tree: SessionTree, canvas: Canvas, *, failed: Collection[str] | None = None) -> int:
    """Print a line for each agent, below its parent's line; return the number of lines.

    `failed`: only these agents.
    """
    rows = [_row(each) for each in tree.walk() if failed is None or each.agent in failed]
    widths = {title: max(columns(row[title].text) for row in rows) for title in rows[0]} if rows else {}
    shown = _fitting(widths, canvas.width)
    for row in rows:
        canvas.put_line(_cells(row, shown, canvas.width))
    return len(rows)


def _fitting(widths: dict[str, int], whole: int) -> dict[str, int]:
    """The columns before the task.

    If the task has too little room, columns of `_FIRST_TO_GO` are removed in that order.
    """
    shown = {title: width for title, width in widths.items() if title not in ("why", "task")}
    for title in _FIRST_TO_GO:
        if shown and whole - sum(shown.values()) - len(_GAP) * len(shown) < _LEAST:
            del shown[title]
    return shown


def _row(tree: SessionTree) -> dict[str, Span]:
    meta = tree.meta
    indent = "  " * tree.agent.count("/")
    failed = int(meta.metrics.get("failed_calls", 0))
    why = first_line(meta.error) or (f"{many(failed, 'call')} failed" if failed else "")
    return {
        "id": Span(f"{indent}{tree.folder.name}"),
        "status": Span(plain(status_text(meta)), status_style(meta.status)),
        "turns": Span(many(meta.turns, "turn")),
        "tokens": Span(count(meta.usage.prompt + meta.usage.completion), Style.DIM),
        "time": Span(seconds(meta.metrics.get("duration", 0.0)), Style.DIM),
        "why": Span(clean(why), Style.RED if meta.error else Style.YELLOW),
        "task": Span(clean(meta.prompt_preview)),
    }


def _cells(row: dict[str, Span], widths: dict[str, int], whole: int) -> Iterator[Span]:
    """The cells of a row. The task gets the rest of the line; the reason of a failure comes before it."""
    left = whole
    for title, width in widths.items():
        text, blanks = row[title].text, " " * (width - columns(row[title].text))
        yield Span((blanks + text if title in _RIGHT else text + blanks) + _GAP, row[title].style)
        left -= width + len(_GAP)
    if why := row["why"].text:
        why = clip(why, max(left // 2, left - columns(row["task"].text) - len(_GAP)))
        yield Span(why + _GAP, row["why"].style)
        left -= columns(why) + len(_GAP)
    yield Span(clip(row["task"].text, max(left, 0)))
