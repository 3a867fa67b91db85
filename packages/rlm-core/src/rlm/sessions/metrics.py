"""The numbers of a session: a fold of its records, so that meta.json can always be rebuilt from the journal."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field

from msgspec.structs import replace

from rlm.core.budget import Spent, Stop
from rlm.core.events import Stopped
from rlm.core.messages import Usage
from rlm.sessions.meta import RUNNING, Meta, preview
from rlm.sessions.records import (
    DropRecord,
    ErrorRecord,
    Journalled,
    KernelRecord,
    MessageRecord,
    ModelCallRecord,
    ResultRecord,
    ResumeRecord,
    RetryRecord,
    RunEndRecord,
    SkillsRecord,
    TokenCounts,
)

TREE = (
    "turns",
    "tool_calls",
    "failed_calls",
    "cells",
    "kernel_restarts",
    "model_calls",
    "retries",
    "skill_calls_python",
    "skill_calls_shell",
)
"""These are also counted for the whole tree, as `tree_…`."""

_COUNTED = {RetryRecord: "retries", ErrorRecord: "errors", KernelRecord: "kernel_restarts"}
_BY_NAME = ("tool_calls_", "skill_calls_")
_TOOL = re.compile(r"[A-Za-z]\w{0,40}", re.ASCII)


@dataclass(slots=True)
class SubtreeMetrics:
    """The totals of the agents of a subtree."""

    usage: Usage = field(default_factory=Usage)
    counts: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    by_agent: dict[str, Usage] = field(default_factory=dict)

    def add(self, other: SubtreeMetrics) -> None:
        self.usage += other.usage
        self.counts.update(other.counts)
        self.depth = max(self.depth, other.depth)
        self.by_agent.update(other.by_agent)


@dataclass(slots=True)
class SessionMetrics:
    """One agent's numbers. Times are seconds."""

    counts: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    status: str = RUNNING
    stop_reason: str | None = None
    end_time: float | None = None
    answer: str = ""
    error: str = ""
    model_time: float = 0.0
    tool_time: float = 0.0
    earlier: float = 0.0
    _run: tuple[float, float] | None = None

    def add(self, record: Journalled) -> None:
        """Add the next record of the journal."""
        self._clock(record)
        match record:
            case MessageRecord():
                self._message(record)
            case ModelCallRecord():
                self.counts["model_calls"] += 1
                self.usage += record.usage.usage
            case DropRecord():
                self.counts["dropped_messages"] += len(record.ids) if record.reason != "joined" else 0
                self.counts["compactions"] += record.reason == "compaction"
            case RetryRecord() | ErrorRecord() | KernelRecord():
                self.counts[_COUNTED[type(record)]] += 1
            case SkillsRecord():
                self._skills(record)
            case ResultRecord():
                self.status, self.stop_reason, self.end_time = record.status, record.stop_reason, record.ts
                self.answer, self.error = record.answer, record.error

    @property
    def turns(self) -> int:
        return self.counts["turns"]

    @property
    def end(self) -> Stopped | None:
        """The end of the last run; None if it was killed."""
        if self.stop_reason is None:
            return None
        return Stopped(Stop(self.stop_reason), self.answer, Spent(self.turns, self.usage), self.error)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last record, without the time between two runs."""
        first, last = self._run or (0.0, 0.0)
        return round(self.earlier + max(0.0, last - first), 3)

    def subtree(self, agent: str, depth: int, below: SubtreeMetrics) -> SubtreeMetrics:
        """Return the numbers of this agent and all agents below it."""
        tree = SubtreeMetrics(self.usage, self.counts.copy(), depth, {agent: self.usage})
        tree.add(below)
        return tree

    def updated(self, meta: Meta, below: SubtreeMetrics) -> Meta:
        """Return `meta` after these records. `below` has the numbers of all agents below."""
        return replace(
            meta,
            status=self.status,
            stop_reason=self.stop_reason,
            end_time=self.end_time,
            answer_preview=preview(self.answer),
            error=self.error,
            turns=self.turns,
            own_tokens=TokenCounts.of(self.usage),
            tree_tokens=TokenCounts.of(self.usage + below.usage),
            metrics=self.metrics(below, meta.depth),
        )

    def _clock(self, record: Journalled) -> None:
        if isinstance(record, ResumeRecord) or self._run is None:
            self.earlier, self._run = self.duration, (record.ts, record.ts)
            self.status, self.stop_reason, self.end_time = RUNNING, None, None
        self._run = (self._run[0], record.ts)

    def _message(self, record: MessageRecord) -> None:
        self.status, self.stop_reason, self.end_time, self.error = RUNNING, None, None, ""
        if record.role == "assistant" and record.usage is not None:
            self.usage += record.usage.usage
            self.model_time += record.duration or 0.0
            self.counts["turns"] += record.is_turn
            content = record.message.get("content")
            self.answer = (content if isinstance(content, str) and record.is_turn else "") or self.answer
        elif record.role == "tool" and record.tool is not None and not record.anew:
            tool = record.tool if _TOOL.fullmatch(record.tool) else "other"
            self.counts.update({"tool_calls": 1, f"tool_calls_{tool}": 1, "failed_calls": not record.ok})
            self.counts["cells"] += tool == "ipython"
            self.tool_time += record.duration or 0.0

    def _skills(self, record: SkillsRecord) -> None:
        for way, calls in (("python", record.python), ("shell", record.shell)):
            for name, count in calls.items():
                self.counts.update({f"skill_calls_{way}": count, f"skill_calls_{way}_{name}": count})

    def metrics(self, below: SubtreeMetrics, depth: int) -> dict[str, float]:
        """Return flat numbers: this agent's, and the tree's with all `below`."""
        names = (*TREE, "compactions", "dropped_messages", "errors")
        own = {name: self.counts[name] for name in names} | _tokens("", self.usage)
        by_name = {name: count for name, count in self.counts.items() if name.startswith(_BY_NAME)}
        tree = {f"tree_{name}": self.counts[name] + below.counts[name] for name in TREE}
        return (
            own
            | by_name
            | tree
            | _tokens("tree_", self.usage + below.usage)
            | {"agents": 1 + len(below.by_agent), "depth": depth, "max_depth": max(depth, below.depth)}
            | {"duration": self.duration, "model_time": round(self.model_time, 3)}
            | {"tool_time": round(self.tool_time, 3)}
        )


def _tokens(prefix: str, usage: Usage) -> dict[str, float]:
    return {
        f"{prefix}prompt_tokens": usage.prompt,
        f"{prefix}completion_tokens": usage.completion,
        f"{prefix}cached_tokens": usage.cached,
        f"{prefix}reasoning_tokens": usage.reasoning,
    } | ({} if usage.cost is None else {f"{prefix}cost": usage.cost})


def run_end(
    metrics: SessionMetrics, tree: SubtreeMetrics, ts: float, *, session_id: str | None, session_dir: str | None
) -> RunEndRecord:
    """Return the record of the end of a run, with the numbers of its whole tree."""
    return RunEndRecord(
        ts,
        metrics.status,
        metrics.stop_reason,
        metrics.answer,
        TokenCounts.of(tree.usage),
        {agent: TokenCounts.of(usage) for agent, usage in tree.by_agent.items()},
        metrics.turns,
        len(tree.by_agent),
        metrics.duration,
        session_id,
        session_dir,
        metrics.error,
        agent="root",
    )


def no_result(stop: Stop = Stop.ERROR) -> RunEndRecord:
    """Return the record of the end of a run that has no session."""
    metrics = SessionMetrics(status=stop.status, stop_reason=str(stop))
    return run_end(metrics, SubtreeMetrics(), round(time.time(), 3), session_id=None, session_dir=None)
