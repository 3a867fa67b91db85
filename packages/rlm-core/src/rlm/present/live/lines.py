"""The permanent lines: one per cell and per agent, problems, the header and the footer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.config.settings import Config, recording_of
from rlm.core.messages import Usage
from rlm.present.describe import LONGEST, describe, first_line, stop_label
from rlm.present.humanize import cost, many, seconds, short, spent, tokens
from rlm.present.live.row import Row, clean
from rlm.present.live.tree import ROOT, AgentNow, AgentState, AgentTree, stop_state
from rlm.present.live.verbose import code_rows, output_rows
from rlm.present.outcomes import CallOutcome
from rlm.sessions.records import AgentEndRecord, CellEndRecord, CellStartRecord, MessageRecord, Record, RetryRecord
from rlm.text.styled import Span, Style

REPORTED_RETRIES = 2
"""Maximum lines about retries of a request: a provider may be down for minutes."""

LONG_WAIT = 5.0
"""Seconds. A pause of at least this length always gets a line: the user must not wait half a minute in silence."""

MANY = 8
"""With more sub-agents than this, each gets one line when it ends, and its cells get none."""

PROBLEM = 2
"""Maximum lines of a problem."""
NARRATION = 2
"""Maximum lines of the model's text before a tool call."""

_SHOWN_NAMES = 8
_GOOD = Span("✓ ", Style.GREEN)
_DOT = Span(" · ", Style.DIM)


def rows_of(tree: AgentTree, record: Record, now: float, *, verbose: bool = False) -> list[Row]:
    """The lines for `record`; `tree` is the state before it. `verbose`: include code and outputs."""
    agent = tree.agent(record.agent or ROOT)
    quiet = agent.path != ROOT and tree.known > MANY and not verbose
    match record:
        case CellStartRecord() if verbose:
            return code_rows(agent, record)
        case CellEndRecord():
            return [] if quiet else [*(output_rows(agent) if verbose else ()), *_cell(agent, record, tree.cwd)]
        case MessageRecord(role="assistant"):
            return [] if quiet else _narration(agent, record)
        case AgentEndRecord():
            return [_child(tree, agent, record, now)]
        case RetryRecord() if quiet:
            return []
        case _:
            return _notice(agent, record)


def _name(path: str) -> tuple[Span, ...]:
    return (Span(f"  {short(path)}", Style.CYAN),) if short(path) else ()


def _cell(agent: AgentNow, record: CellEndRecord, cwd: str) -> list[Row]:
    outcome = agent.outcome if agent.outcome.failure or record.ok else CallOutcome("error")
    what = (Span(f"  [{len(agent.turns)}] {record.tool}  ", Style.DIM), Span(agent.cell))
    style = Style.RED if outcome.is_error else Style.YELLOW
    problem = (Span(outcome.problem, style),) if outcome.problem else ()
    tail = (_mark(outcome), _took(record.duration))
    row = Row((*_name(agent.path), *what), tail, most=PROBLEM, below=problem)
    signs = " · ".join(agent.signs).replace(f"→ {cwd}/", "→ ") if cwd else " · ".join(agent.signs)
    pictures = [Row((), picture=path) for path in agent.pictures]
    return [row, Row((Span("      "), Span(signs))), *pictures] if signs else [row]


def _mark(outcome: CallOutcome) -> Span:
    if outcome.is_error:
        return Span("✗ ", Style.RED)
    return Span(f"{outcome.failure} ", Style.YELLOW) if outcome.failure else _GOOD


def _took(duration: float | None) -> Span:
    return Span(f"{'' if duration is None else seconds(duration):>7}", Style.DIM)


def _narration(agent: AgentNow, record: MessageRecord) -> list[Row]:
    """The model's text before a tool call."""
    text = str(record.message.get("content") or "").strip()
    if record.aside or not text or not record.message.get("tool_calls"):
        return []
    said = " ".join(text[: 2 * LONGEST].split())
    return [Row((*_name(agent.path), Span(f"  {said}", Style.DIM)), most=NARRATION)]


def _child(tree: AgentTree, parent: AgentNow, record: AgentEndRecord, now: float) -> Row:
    child = tree.agent(f"{parent.path}/{record.folder}")
    took = _took(now - child.since if child.path in tree.agents else None)
    name, task = (*_name(child.path), Span("  ")), clean(child.task)
    state = stop_state(record.stop)
    if state is AgentState.DONE:
        amount = Span(f"{spent(record.turns, record.usage.usage)}  ", Style.DIM)
        return Row((*name, Span(task)), (amount, _GOOD, took))
    style = Style.RED if state is AgentState.FAILED else Style.YELLOW
    why = Span(first_line(record.error or stop_label(record.stop)), style)
    return Row((*name, Span(task)), (Span("✗ ", style), took), most=PROBLEM, below=(why,))


def _notice(agent: AgentNow, record: Record) -> list[Row]:
    """A line about a problem. Housekeeping is not shown."""
    said = describe(record, agent.turns, names=_SHOWN_NAMES)
    if said is None or said.minor:
        return []
    head = said.head
    if isinstance(record, RetryRecord) and record.attempt >= REPORTED_RETRIES:
        if record.attempt > REPORTED_RETRIES and record.wait < LONG_WAIT:
            return []
        if record.attempt == REPORTED_RETRIES:
            head = f"{said.label}, and so on: "
    text, detail = Span(first_line(said.text)), Span(said.detail, Style.DIM)
    return [Row((*_name(agent.path), Span("  "), Span(head, said.style), text, detail))]


# ---- the first line and the last


def model_name(model: str) -> str:
    """The model's name; for a recording, only the name of its file."""
    return path.name if (path := recording_of(model)) else model


def sandbox_state(config: Config) -> str:
    """`off`, `bwrap`, `bwrap with network`."""
    return config.sandbox + (" with network" if config.sandboxed and config.sandbox_net else "")


def header(
    *, model: str, cwd: str, tools: Sequence[str], session_id: str = "", sandbox: str = "off", recorded: bool = False
) -> Row:
    """The model, sandbox, tools, session and folder. `recorded`: no model is asked."""
    model_part = (Span(model), Span(" (recorded)", Style.YELLOW)) if recorded else (Span(model),)
    rest = [
        f"sandbox {sandbox}",
        ", ".join(tools) or "no tools",
        *([f"session {session_id}"] if session_id else []),
        cwd,
    ]
    facts = [span for text in rest for span in (_DOT, Span(text, Style.DIM))]
    return Row((Span("rlm", Style.BOLD), _DOT, *model_part, *facts))


def footer(
    *, turns: int, agents: int, usage: Usage, duration: float | None = None, resume: str = "", stop: str = ""
) -> Row:
    """`12 turns · 3 agents · 84k in (71k cached) / 6k out · 41 s · $0.31 · rlm resume 7f3a`: the totals of the tree.

    A stop comes first. `resume` is the command that resumes the session; empty if there is none.
    """
    stopped = [Span(stop_label(stop), Style.YELLOW)] if stop not in ("", "done") else []
    parts = [
        *stopped,
        Span(many(turns, "turn")),
        Span(many(agents, "agent")),
        Span(tokens(usage, cached=True)),
        *([Span(seconds(duration))] if duration is not None else []),
        *([Span(cost(usage))] if usage.cost else []),
    ]
    spans = tuple(span for part in parts for span in (_DOT, part))[1:]
    return Row(spans, below=(Span(resume),) if resume else (), gap=_DOT)  # a command stays on one line
