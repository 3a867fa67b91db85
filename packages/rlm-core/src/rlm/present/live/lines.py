"""The lines that stay: one per cell and per agent, what went wrong, the header and the footer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rlm.core.messages import Usage
from rlm.present.humanize import many, seconds, tokens
from rlm.present.live.labels import first_line, short, spent
from rlm.present.live.row import Row, clean
from rlm.present.live.tree import ROOT, AgentNow, AgentState, AgentTree, stop_state
from rlm.sessions.records import Record, usage_read
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
    agent = tree.agent(record.get("agent", ROOT))
    if record["type"] == "agent_end":
        return _child(tree, agent, record, now)
    tell = _TELLING.get(record["type"])
    return tell(agent, record) if tell else None


def _name(path: str) -> tuple[Span, ...]:
    return (Span(f"  {short(path)}", Style.CYAN),) if short(path) else ()


def _cell(agent: AgentNow, record: Record) -> Row:
    ok = record["ok"]
    code = clean(agent.cell)
    what = (
        Span(f"  [{len(agent.turns)}] {record['tool']}  ", Style.DIM),
        Span(code if ok else clip(code, BRIEF)),
    )
    problem = () if ok or not agent.problem else (Span("  "), Span(agent.problem, Style.RED))
    return Row((*_name(agent.path), *what, *problem), (_GOOD if ok else _BAD, _took(record.get("duration"))))


def _took(duration: float | None) -> Span:
    return Span(f"{'' if duration is None else seconds(duration):>7}", Style.DIM)


def _child(tree: AgentTree, parent: AgentNow, record: Record, now: float) -> Row:
    child = tree.agent(f"{parent.path}/{record['folder']}")
    state = stop_state(record["stop"])
    took = _took(now - child.since if child.path in tree.agents else None)
    name, task = (*_name(child.path), Span("  ")), clean(child.task)
    if state is AgentState.DONE:
        amount = Span(f"{spent(record['turns'], usage_read(record['usage']))}  ", Style.DIM)
        return Row((*name, Span(task)), (amount, _GOOD, took))
    why = Span(f"  {first_line(record.get('error') or record['stop'])}", Style.RED)
    return Row((*name, Span(clip(task, BRIEF)), why), (_BAD, took))


def _notice(agent: AgentNow, *spans: Span) -> Row:
    return Row((*_name(agent.path), Span("  "), *spans))


def _retry(agent: AgentNow, record: Record) -> Row | None:
    attempt, wait = record["attempt"], record["wait"]
    if attempt > TOLD_RETRIES and wait < LONG_WAIT:
        return None
    more = ", and so on" if attempt == TOLD_RETRIES else ""
    how = f"retry in {seconds(wait)}{more}: "
    return _notice(agent, Span(how, Style.YELLOW), Span(first_line(record["reason"])))


def _waiting(agent: AgentNow, record: Record) -> Row:
    return _notice(
        agent,
        Span(f"still waiting, {seconds(record['left'])} at most: ", Style.YELLOW),
        Span(first_line(record["reason"])),
    )


def _kernel(agent: AgentNow, record: Record) -> Row:
    lost = record["lost"]
    names = ", ".join(lost[:_SHOWN_NAMES]) + (f" and {len(lost) - _SHOWN_NAMES} more" if lost[_SHOWN_NAMES:] else "")
    gone = Span(f"; lost: {names}" if lost else "", Style.DIM)
    return _notice(agent, Span("kernel restarted: ", Style.YELLOW), Span(first_line(record["why"])), gone)


_DROPS = {
    "compaction": "context compacted: {} summarised",
    "summarize": "context compacted: {} summarised",
    "context_limit": "context too long: {} dropped unread",
    "shortened": "context too long: the newest result was cut",
}
"""What a user is told of, by the reason. The other drops are housekeeping."""


def _drop(agent: AgentNow, record: Record) -> Row | None:
    says = _DROPS.get(record["reason"], "")
    return _notice(agent, Span(says.format(_dropped(agent, record)), Style.YELLOW)) if says else None


def _dropped(agent: AgentNow, record: Record) -> str:
    """The turns that went; those of an earlier run of the session have no number here."""
    ids = set(record["ids"])
    numbers = record.get("turns") or [number for number, id in enumerate(agent.turns, 1) if id in ids]
    if not numbers:
        return "older turns"
    return f"turn {numbers[0]}" if numbers[0] == numbers[-1] else f"turns {numbers[0]}-{numbers[-1]}"


def _rerun(agent: AgentNow, record: Record) -> Row | None:
    if record["same"]:
        return None
    says = Span("a recorded cell now gives something else: ", Style.YELLOW)
    return _notice(agent, says, Span(first_line(record["content"])))


def _error(agent: AgentNow, record: Record) -> Row:
    return _notice(agent, Span("error: ", Style.RED), Span(first_line(record["reason"])))


_TELLING: Mapping[str, Callable[[AgentNow, Record], Row | None]] = {
    "cell_end": _cell,
    "retry": _retry,
    "waiting": _waiting,
    "kernel": _kernel,
    "drop": _drop,
    "rerun": _rerun,
    "error": _error,
}


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
    """`12 turns · 3 agents · 84k in (71k cached) / 6k out · rlm resume 7f3a`, and why it stopped if it is not done."""
    stopped = [Span(f"stopped: {stop}", Style.YELLOW)] if stop not in ("", "done") else []
    parts = [
        *stopped,
        Span(many(turns, "turn")),
        Span(many(agents, "agent")),
        Span(tokens(usage, cached=True)),
        *([Span(f"rlm resume {session_id}")] if session_id else []),
    ]
    return Row(tuple(span for part in parts for span in (_DOT, part))[1:])
