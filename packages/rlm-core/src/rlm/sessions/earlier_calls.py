"""The calls that an agent's cells made in earlier runs, and their results: a fold of the journals of those runs.

A call is identified by its digest and its position among equal calls. It is open if the model never acted on its
result. Open calls were made by the last cells of a run, if these cells were cut off, failed, or have a sub-agent that
did not finish. In a run that resumes the session, equal calls are matched with the open ones, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rlm.core.budget import Stop
from rlm.core.events import CallKey
from rlm.sessions.records import (
    AgentEndRecord,
    AgentStartRecord,
    Journalled,
    MessageRecord,
    ModelCallRecord,
    ReplayedRecord,
    ResumeRecord,
)


@dataclass(slots=True)
class EarlierCall:
    """One call. Sub-agents are paths in the tree (`root/sub-1a2b3c4d`)."""

    cell: str = ""
    """The cell that made the call last."""
    task: str = ""
    finished: tuple[str, AgentEndRecord] | None = None
    """The newest sub-agent that ended with an answer, and its end."""
    unfinished: list[str] = field(default_factory=list)
    """The sub-agents that ended without an answer, or did not end."""
    replies: list[ModelCallRecord] = field(default_factory=list)
    """All requests of a model call, in order."""


class EarlierCalls:
    """Reads journals with `add`; the other methods find calls."""

    def __init__(self) -> None:
        self._calls: dict[str, dict[int, EarlierCall]] = {}
        self._by_folder: dict[str, EarlierCall] = {}
        self._order: dict[str, list[int]] = {}  # positions by digest, in call order, with repetitions
        self._cells: list[str] = []  # of the newest turn
        self._ended_with = ""  # the last cell of the previous run, until this run has a turn
        self._unanswered: list[tuple[str, str]] = []  # of the newest turn: the id of the call, and our name of the cell
        self._last_cells: set[str] = set()  # cells at the end of a run
        self._succeeded: set[str] = set()  # cells with a successful result
        self._incomplete: set[str] = set()  # cells with a sub-agent that did not finish

    def add(self, agent: str, records: Iterable[Journalled]) -> None:
        """Read the journal of the agent with this path. Several attempts at one task are read in order."""
        for record in records:
            match record:
                case MessageRecord(role="assistant", aside=False):
                    self._add_turn(agent, record)
                case MessageRecord(role="tool"):
                    self._add_result(record)
                case AgentStartRecord() | ModelCallRecord() | ReplayedRecord() if record.call:
                    self._add_call(agent, record)
                case AgentEndRecord():
                    self._add_end(agent, record)
                case ResumeRecord():
                    self._end_run()
        self._end_run()

    def find(self, key: CallKey) -> EarlierCall | None:
        """Return the call that an earlier run made with this key; None if there is none."""
        return self._calls.get(key.digest, {}).get(key.position)

    def positions(self, digest: str) -> int:
        """Return the number of equal calls."""
        return max(self._calls.get(digest, {}), default=-1) + 1

    def from_the_start(self, digest: str) -> Sequence[int]:
        """Return the positions of equal calls for an agent that starts its task again."""
        return range(self.positions(digest))

    def as_made(self, digest: str) -> Sequence[int]:
        """Return the positions of equal calls for an agent whose cells run again, in order."""
        return self._order.get(digest, [])

    def left_open(self, digest: str) -> Sequence[int]:
        """Return the positions of equal calls for an agent that continues."""
        calls = self._calls.get(digest, {})
        last = ((position, call.cell) for position, call in calls.items() if call.cell in self._last_cells)
        return sorted(place for place, cell in last if cell not in self._succeeded or cell in self._incomplete)

    def _add_turn(self, agent: str, record: MessageRecord) -> None:
        ids = [call["id"] for call in record.message.get("tool_calls") or ()]
        self._unanswered = [(id, f"{agent} {record.id}.{number}") for number, id in enumerate(ids)]
        self._ended_with = ""
        self._cells = [cell for _, cell in self._unanswered]

    def _add_result(self, record: MessageRecord) -> None:
        """Record a result. Calls run in order, and ids may repeat."""
        for place, (id, cell) in enumerate(self._unanswered):
            if id == record.message["tool_call_id"]:
                del self._unanswered[place]
                if record.ok:
                    self._succeeded.add(cell)
                return

    def _add_call(self, agent: str, record: AgentStartRecord | ModelCallRecord | ReplayedRecord) -> None:
        calls = self._calls.setdefault(record.call, {})
        known = record.position in calls
        call = calls.setdefault(record.position, EarlierCall())
        if isinstance(record, ModelCallRecord) and _goes_on(call.replies, record):
            call.replies.append(record)
            return
        if self._unanswered:
            call.cell = self._unanswered[0][1]
        elif not known:  # a recorded cell is run again, most likely the one that was cut off
            call.cell = self._ended_with
        if self._unanswered or not known:
            self._order.setdefault(record.call, []).append(record.position)
        match record:
            case AgentStartRecord():
                self._by_folder[f"{agent}/{record.folder}"] = call
                call.task = record.prompt
                call.unfinished.append(f"{agent}/{record.folder}")
            case ModelCallRecord():
                call.replies = [record]

    def _add_end(self, agent: str, record: AgentEndRecord) -> None:
        path = f"{agent}/{record.folder}"
        call = self._by_folder.pop(path, None)
        if call is None:
            return
        if record.stop == Stop.DONE:
            call.finished = (path, record)
            call.unfinished.remove(path)
        else:
            self._incomplete.add(call.cell)

    def _end_run(self) -> None:
        self._last_cells |= set(self._cells)
        self._ended_with = self._unanswered[0][1] if self._unanswered else self._cells[-1] if self._cells else ""
        self._cells, self._unanswered = [], []


def _goes_on(replies: Sequence[ModelCallRecord], record: ModelCallRecord) -> bool:
    """Whether a request corrects the requests before it: then it has more messages than the first one."""
    return bool(replies) and len(record.messages) > len(replies[0].messages)
