"""The tree of agents as it looks now: a fold over the records of a run. Pure; times are handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rlm.core.budget import Stop
from rlm.core.messages import Usage
from rlm.present.describe import first_line
from rlm.present.diffs import diff_sign
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
"""In place of the id of a turn that an earlier run of the session took."""

THROTTLED = "waits: the provider takes no more at once"

_RECENT = 2_000
"""Characters of what arrives that are kept to be shown."""


class AgentState(StrEnum):
    """What an agent is at. The last four are ends."""

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
    """One agent at this moment. `since` is when it started, in the seconds that the fold is given."""

    path: str
    task: str = ""
    since: float = 0.0
    doing: AgentState = AgentState.THINKING
    turns: tuple[int, ...] = ()
    """The record id of each turn's assistant message."""
    usage: Usage = field(default_factory=Usage)
    tool: str = ""
    cell: str = ""
    """What the running call does, in a line."""
    output: str = ""
    """The result of the call that has just ended, for whoever reads along."""
    outcome: CallOutcome = field(default_factory=CallOutcome)
    signs: tuple[str, ...] = ()
    """Of what the running call shows: pictures, tables, a diff."""
    pictures: tuple[str, ...] = ()
    """Their paths."""
    writing: str = ""
    """What the model writes besides text, and how much of it."""
    changed: float = 0.0
    """When it began what it is at."""
    problem: str = ""
    """What the last failed request had to say."""
    until: float = 0.0
    """When the request will be tried again."""
    children: int = 0
    """Sub-agents that have begun and not ended."""
    queued: int = 0
    """Those that wait for a slot."""
    finished: int = 0
    """Those that have ended since the agent's call began."""
    recent: str = ""
    """The end of what arrives: the model's text, or what the running call prints. The root's only."""

    @property
    def state(self) -> AgentState:
        """Whoever has children at work waits for them, whatever its cell does besides."""
        return AgentState.WAITING if self.children or self.queued else self.doing


@dataclass(frozen=True, slots=True)
class AgentTree:
    """The agents that have not ended, parents before children, and how many ended how."""

    agents: Mapping[str, AgentNow] = field(default_factory=dict)
    ended: Mapping[AgentState, int] = field(default_factory=dict)
    started: int = 0
    """Sub-agents so far."""
    cwd: str = ""

    @property
    def known(self) -> int:
        """Sub-agents so far, and those in the queue."""
        return self.started + sum(agent.queued for agent in self.agents.values())

    def agent(self, path: str) -> AgentNow:
        """As it is known; a stranger has done nothing yet."""
        return self.agents.get(path) or AgentNow(path)


def stop_state(stop: str) -> AgentState:
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
    """An agent that was not heard of starts now."""
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
        case ThrottledRecord(waits=waits) if agent.doing is AgentState.THINKING:  # a retry says more
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
            signs = (*agent.signs, said) if (said := diff_sign(content)) else agent.signs
            return replace(agent, outcome=outcome, output=content, signs=signs)
        case "user" if not agent.task and not record.kind and isinstance(content, str):
            return replace(agent, task=first_line(content))
        case _:
            return agent
