"""The edges between model requests of the whole tree, as a trainer asks for them: which request led to which.

A fold of records. An edge is reported only after both of its requests are answered: a trainer rejects an edge to an
unfinished request. Requests have ids only if the provider received the ids; see `rlm.providers.attempt`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rlm.core.messages import Wire
from rlm.sessions.records import AgentEndRecord, AgentStartRecord, DropRecord, MessageRecord, ModelCallRecord, Record

KEY = "ai.prime.acp/semantic-edges-v1"

CONTINUATION = "continuation"
ATTEMPT = "compaction_attempt"
COMPACTION = "compaction"
CALL, RETURN = "subagent_call", "subagent_return"


@dataclass(slots=True)
class _Agent:
    last: str = ""
    """The request of the newest turn."""
    aside: str = ""
    """The newest request for a summary."""
    compacted: bool = False
    called_by: str = ""
    returned: list[str] = field(default_factory=list)
    """The last requests of sub-agents that have ended since the newest turn."""


class SemanticEdges:
    """The edges of one session, since it was opened."""

    def __init__(self) -> None:
        self._agents: dict[str, _Agent] = {}
        self._edges: dict[tuple[str, str, str], None] = {}

    def add(self, record: Record) -> None:
        """Add a record of any agent of the tree."""
        name = record.agent or "root"
        agent = self._agents.setdefault(name, _Agent())
        match record:
            case MessageRecord(role="assistant", request_id=id) if id:
                self._answered(agent, id, aside=record.aside)
            case ModelCallRecord(request_id=id) if id:
                self._add(agent.last, id, CALL)
                agent.returned.append(id)
            case DropRecord(reason="compaction"):
                agent.compacted = True
            case AgentStartRecord():
                self._agents[f"{name}/{record.folder}"] = _Agent(called_by=agent.last)
            case AgentEndRecord():
                if child := self._agents.pop(f"{name}/{record.folder}", None):
                    agent.returned.extend(filter(None, [child.last]))

    def meta(self) -> Wire:
        """All edges so far, as part of a response to a prompt. Empty if no request has an id."""
        edges = [
            {"source_request_id": source, "target_request_id": target, "type": kind}
            for source, target, kind in self._edges
        ]
        return {KEY: {"edges": edges}} if edges else {}

    def _answered(self, agent: _Agent, id: str, *, aside: bool) -> None:
        if aside:
            self._add(agent.last, id, ATTEMPT)
            agent.aside = id
            return
        if agent.compacted and agent.aside:
            self._add(agent.aside, id, COMPACTION)
        else:
            self._add(agent.last or agent.called_by, id, CONTINUATION if agent.last else CALL)
        for source in agent.returned:
            self._add(source, id, RETURN)
        agent.last, agent.aside, agent.compacted, agent.returned = id, "", False, []

    def _add(self, source: str, target: str, kind: str) -> None:
        if source and source != target:
            self._edges[source, target, kind] = None
