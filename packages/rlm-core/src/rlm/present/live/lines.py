"""The lines that stay: one per cell and per agent, what went wrong, the header and the footer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.core.messages import Usage
from rlm.present.describe import describe, first_line
from rlm.present.humanize import cost, many, seconds, tokens
from rlm.present.live.labels import short, spent
from rlm.present.live.row import Row, clean
from rlm.present.live.tree import ROOT, AgentNow, AgentState, AgentTree, stop_state
from rlm.sessions.records import AgentEndRecord, CellEndRecord, Record, RetryRecord
from rlm.text.styled import Span, Style, clip

TOLD_RETRIES = 2
"""A provider that is down for minutes gets this many lines a request, and not one per attempt."""

LONG_WAIT = 5.0
"""Seconds. Each pause as long as this is told all the same, so that nobody waits for half a minute in silence."""

BRIEF = 40
"""Columns of what was tried, where what went wrong matters more."""

_SHOWN_NAMES = 8
_GOOD, _BAD = Span("✓ ", Style.GREEN), Span("✗ ", Style.RED)
_DOT = Span(" · ", Style.DIM)


def told(tree: AgentTree, record: Record, now: float) -> Row | None:
    """The line that `record` is worth; `tree` is as it was before it."""
    agent = tree.agent(record.agent or ROOT)
    match record:
        case CellEndRecord():
            return _cell(agent, record)
        case AgentEndRecord():
            return _child(tree, agent, record, now)
        case _:
            return _notice(agent, record)


def _name(path: str) -> tuple[Span, ...]:
    return (Span(f"  {short(path)}", Style.CYAN),) if short(path) else ()


def _cell(agent: AgentNow, record: CellEndRecord) -> Row:
    code = clean(agent.cell)
    what = (
        Span(f"  [{len(agent.turns)}] {record.tool}  ", Style.DIM),
        Span(code if record.ok else clip(code, BRIEF)),
    )
    problem = () if record.ok or not agent.problem else (Span("  "), Span(agent.problem, Style.RED))
    return Row((*_name(agent.path), *what, *problem), (_GOOD if record.ok else _BAD, _took(record.duration)))


def _took(duration: float | None) -> Span:
    return Span(f"{'' if duration is None else seconds(duration):>7}", Style.DIM)


def _child(tree: AgentTree, parent: AgentNow, record: AgentEndRecord, now: float) -> Row:
    child = tree.agent(f"{parent.path}/{record.folder}")
    took = _took(now - child.since if child.path in tree.agents else None)
    name, task = (*_name(child.path), Span("  ")), clean(child.task)
    if stop_state(record.stop) is AgentState.DONE:
        amount = Span(f"{spent(record.turns, record.usage.usage)}  ", Style.DIM)
        return Row((*name, Span(task)), (amount, _GOOD, took))
    why = Span(f"  {first_line(record.error or record.stop)}", Style.RED)
    return Row((*name, Span(clip(task, BRIEF)), why), (_BAD, took))


def _notice(agent: AgentNow, record: Record) -> Row | None:
    """What went wrong. Housekeeping is told to nobody."""
    said = describe(record, agent.turns, names=_SHOWN_NAMES)
    if said is None or said.minor:
        return None
    head = said.head
    if isinstance(record, RetryRecord) and record.attempt >= TOLD_RETRIES:
        if record.attempt > TOLD_RETRIES and record.wait < LONG_WAIT:
            return None
        if record.attempt == TOLD_RETRIES:
            head = f"{said.label}, and so on: "
    text, detail = Span(first_line(said.text)), Span(said.detail, Style.DIM)
    return Row((*_name(agent.path), Span("  "), Span(head, said.style), text, detail))


# ---- the first line and the last


def header(*, model: str, cwd: str, tools: Sequence[str], session_id: str, sandbox: str, recorded: bool) -> Row:
    """What runs, where, with which hands, and how far it is boxed in."""
    model_part = (Span(model), Span(" (recorded)", Style.YELLOW)) if recorded else (Span(model),)
    rest = [
        f"sandbox {sandbox}",
        ", ".join(tools) or "no tools",
        *([f"session {session_id}"] if session_id else []),
        cwd,
    ]
    facts = [span for text in rest for span in (_DOT, Span(text, Style.DIM))]
    return Row((Span("rlm", Style.BOLD), _DOT, *model_part, *facts))


def footer(*, turns: int, agents: int, usage: Usage, session_id: str, stop: str) -> Row:
    """`12 turns · 3 agents · 84k in (71k cached) / 6k out · $0.31 · rlm resume 7f3a`, and why it stopped."""
    stopped = [Span(f"stopped: {stop}", Style.YELLOW)] if stop not in ("", "done") else []
    parts = [
        *stopped,
        Span(many(turns, "turn")),
        Span(many(agents, "agent")),
        Span(tokens(usage, cached=True)),
        *([Span(cost(usage))] if usage.cost else []),
        *([Span(f"rlm resume {session_id}")] if session_id else []),
    ]
    return Row(tuple(span for part in parts for span in (_DOT, part))[1:])
