"""The current state of the tree of agents: a fold over the records of a run. Pure; the caller passes the times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rlm.core.budget import Stop
from rlm.core.messages import Usage
from rlm.present.describe import first_line
from rlm.present.diffs import diff_summary
from rlm.present.humanize import sign, writing
from rlm.present.outcomes import CallOutcome, call_outcome
from rlm.present.titles import title
from rlm.sessions.records import (
    AgentEndRecord,
    AgentStartRecord,
    CellEndRecord,
    CellOutputRecord,
    CellStartRecord,
    DeltaRecord,
    DisplayRecord,
    MessageRecord,
    QueuedRecord,
    Record,
    ResultRecord,
    RetryRecord,
    RunEndRecord,
    SessionRecord,
    ThrottledRecord,
    WritingRecord,
)

ROOT = "root"

EARLIER = -1
"""Stands for the id of a turn of an earlier run of the session."""

THROTTLED = "waits: the provider limits concurrent requests"

_RECENT = 2_000
"""Maximum characters of the newest text that are kept."""


class AgentState(StrEnum):
    """The state of an agent. The last four are final."""

    THINKING = "thinking"
    RETRYING = "retrying"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"


_ENDS = {
    "done": AgentState.DONE,
    "limit": AgentState.STOPPED,
    "error": AgentState.FAILED,
    "cancelled": AgentState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class AgentNow:
    """The current state of one agent. `since` is its start time, on the clock of the fold."""

    path: str
    task: str = ""
    since: float = 0.0
    doing: AgentState = AgentState.THINKING
    turns: tuple[int, ...] = ()
    """The record id of each turn's assistant message."""
    usage: Usage = field(default_factory=Usage)
    tool: str = ""
    cell: str = ""
    """A one-line title of the running call."""
    output: str = ""
    """The result of the call that has just ended, for the verbose output."""
    outcome: CallOutcome = field(default_factory=CallOutcome)
    signs: tuple[str, ...] = ()
    """Signs for what the running call displays: pictures, tables, a diff."""
    pictures: tuple[str, ...] = ()
    """The paths of the displayed pictures."""
    writing: str = ""
    """What the model writes besides text, and how much."""
    changed: float = 0.0
    """The start time of the current activity."""
    problem: str = ""
    """The message of the last failed request."""
    until: float = 0.0
    """The time of the next retry."""
    children: int = 0
    """Sub-agents that have started and not ended."""
    queued: int = 0
    """Sub-agents that wait for a slot."""
    finished: int = 0
    """Sub-agents that have ended since the agent's call began."""
    recent: str = ""
    """The end of the newest text: of the model, or of the running call. Only for the root."""

    @property
    def state(self) -> AgentState:
        """An agent with active children is WAITING, even if its cell does something else."""
        return AgentState.WAITING if self.children or self.queued else self.doing


@dataclass(frozen=True, slots=True)
class AgentTree:
    """The agents that have not ended, parents before children, and counts of the ended ones by state."""

    agents: Mapping[str, AgentNow] = field(default_factory=dict)
    ended: Mapping[AgentState, int] = field(default_factory=dict)
    started: int = 0
    """Number of sub-agents started so far."""
    cwd: str = ""

    @property
    def known(self) -> int:
        """Number of sub-agents started so far, and of those in the queue."""
        return self.started + sum(agent.queued for agent in self.agents.values())

    def agent(self, path: str) -> AgentNow:
        """The known state of an agent; for an unknown path, an initial state."""
        return self.agents.get(path) or AgentNow(path)


def stop_state(stop: str) -> AgentState:
    """The final state of an agent that ended with this stop reason."""
    return _ENDS[Stop(stop).status]


def fold(tree: AgentTree, record: Record, now: float) -> AgentTree:
    """The tree after `record`, which arrived at `now` (seconds, of any clock that does not jump)."""
    path = record.agent or ROOT
    match record:
        case AgentStartRecord():
            return _with_child(tree, path, record, now)
        case AgentEndRecord():
            return _without_child(tree, path, record)
        case ResultRecord() | RunEndRecord() if path == ROOT:
            return AgentTree()
        case DeltaRecord() | CellOutputRecord() if path != ROOT:
            return tree
        case SessionRecord(cwd=cwd):
            return replace(_put(tree, _after(_known(tree, path, now), record, now)), cwd=cwd)
        case _:
            return _put(tree, _after(_known(tree, path, now), record, now))


def _known(tree: AgentTree, path: str, now: float) -> AgentNow:
    """The state of an agent; an unknown agent starts now."""
    return tree.agents.get(path) or AgentNow(path, since=now, changed=now)


def _put(tree: AgentTree, *agents: AgentNow) -> AgentTree:
    return replace(tree, agents={**tree.agents, **{agent.path: agent for agent in agents}})


def _with_child(tree: AgentTree, path: str, record: AgentStartRecord, now: float) -> AgentTree:
    parent = _known(tree, path, now)
    child = AgentNow(f"{path}/{record.folder}", first_line(record.prompt), now, changed=now)
    return replace(_put(tree, replace(parent, children=parent.children + 1), child), started=tree.started + 1)


def _without_child(tree: AgentTree, path: str, record: AgentEndRecord) -> AgentTree:
    gone = f"{path}/{record.folder}"
    state = stop_state(record.stop)
    left = {name: agent for name, agent in tree.agents.items() if name != gone and not name.startswith(f"{gone}/")}
    if path in left and gone in tree.agents:
        parent = left[path]
        left[path] = replace(parent, children=parent.children - 1, finished=parent.finished + 1)
    return replace(tree, agents=left, ended={**tree.ended, state: tree.ended.get(state, 0) + 1})


def _after(agent: AgentNow, record: Record, now: float) -> AgentNow:
    match record:
        case MessageRecord():
            return _heard(agent, record, now)
        case SessionRecord(turns=turns):
            return replace(agent, turns=(EARLIER,) * turns)
        case RetryRecord(reason=reason, wait=wait):
            return replace(
                agent, doing=AgentState.RETRYING, problem=reason, until=now + wait, recent="", writing="", changed=now
            )
        case DeltaRecord() | WritingRecord():
            return _wrote(agent, record)
        case ThrottledRecord(waits=waits) if agent.doing is AgentState.THINKING:  # a retry is the more precise state
            return replace(agent, doing=AgentState.THINKING, writing=THROTTLED if waits else "", changed=now)
        case _:
            return _worked(agent, record, now)


def _wrote(agent: AgentNow, record: DeltaRecord | WritingRecord) -> AgentNow:
    if isinstance(record, WritingRecord):
        return replace(agent, doing=AgentState.THINKING, writing=writing(record))
    return replace(agent, doing=AgentState.THINKING, recent=_more(agent, record.text), writing="writing")


def _worked(agent: AgentNow, record: Record, now: float) -> AgentNow:
    match record:
        case CellStartRecord():
            fresh = AgentNow(agent.path, agent.task, agent.since, AgentState.RUNNING, agent.turns, agent.usage)
            cell = title(record.tool, record.arguments)
            return replace(fresh, tool=record.tool, cell=cell, children=agent.children, changed=now)
        case CellOutputRecord():
            return replace(agent, recent=_more(agent, record.text))
        case QueuedRecord(agents=queued):
            return replace(agent, queued=queued)
        case DisplayRecord():
            pictures = (*agent.pictures, record.picture) if record.picture else agent.pictures
            return replace(agent, signs=(*agent.signs, sign(record)), pictures=pictures)
        case CellEndRecord():
            return replace(
                agent, doing=AgentState.THINKING, tool="", cell="", problem="", recent="", output="", changed=now
            )
        case _:
            return agent


def _more(agent: AgentNow, text: str) -> str:
    return (agent.recent + text[-_RECENT:])[-_RECENT:]


def _heard(agent: AgentNow, record: MessageRecord, now: float) -> AgentNow:
    content: Any = record.message.get("content")
    match record.role:
        case "assistant":
            turns = (*agent.turns, record.id) if record.is_turn else agent.turns
            usage = agent.usage + (record.usage.usage if record.usage else Usage())
            fresh = replace(agent, doing=AgentState.THINKING, problem="", recent="", writing="", changed=now)
            return replace(fresh, turns=turns, usage=usage)
        case "tool" if not record.anew:
            outcome = call_outcome(content, ok=bool(record.ok), exit_status=record.exit_status)
            signs = (*agent.signs, said) if (said := diff_summary(content)) else agent.signs
            return replace(agent, outcome=outcome, output=content, signs=signs)
        case "user" if not agent.task and not record.kind and isinstance(content, str):
            return replace(agent, task=first_line(content))
        case _:
            return agent
