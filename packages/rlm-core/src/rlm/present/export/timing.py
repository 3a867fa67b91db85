"""Where the time of a session went: the activity of each agent, and its waits for others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rlm.present.humanize import many
from rlm.sessions import journal
from rlm.sessions.store import SessionTree
from rlm.sessions.transcript import TranscriptCall, Turn, build

IDLE = 10.0
"""Seconds. A longer period in which no agent is active (between two runs) is drawn with this length."""


Interval = tuple[float, float]


class Activity(StrEnum):
    MODEL = "model"  # the model answers
    TOOL = "tool"  # a cell or a command runs
    WAIT = "wait"  # a cell waits for sub-agents


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A span in seconds since 1970. `place` is the id of the turn's record; it names the anchor in the page."""

    activity: Activity
    start: float
    end: float
    place: int
    label: str

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Times:
    """The spans of one agent. `busy` is when it was active; pauses shorter than IDLE count as busy."""

    totals: Mapping[Activity, float]
    busy: Sequence[Interval]

    def total(self, activity: Activity) -> float:
        """Seconds of one activity. For TOOL, without the time in which a cell waited for sub-agents."""
        return self.totals.get(activity, 0.0)

    @property
    def start(self) -> float:
        """Seconds since 1970; 0 if the agent did nothing."""
        return self.busy[0][0] if self.busy else 0.0

    @property
    def end(self) -> float:
        """Seconds since 1970; 0 if the agent did nothing."""
        return max((end for _, end in self.busy), default=0.0)


def spans(tree: SessionTree) -> Iterator[TimeSpan]:
    """Yield the spans of an agent, turn by turn."""
    for item in build(tree.records()):
        if isinstance(item, Turn):
            label = f"turn {item.number}" if item.number else "summary"
            yield TimeSpan(Activity.MODEL, item.started, item.ended, item.id, label)
            for call in item.calls:
                yield from _call(call, item, tree)


def times(tree: SessionTree) -> Times:
    """Add up the spans of an agent."""
    totals = dict.fromkeys(Activity, 0.0)
    busy: list[Interval] = []
    for span in spans(tree):
        totals[span.activity] += span.length
        if busy and busy[-1][0] <= span.start <= busy[-1][1] + IDLE:
            busy[-1] = (busy[-1][0], max(busy[-1][1], span.end))
        else:
            busy.append((span.start, span.end))
    return Times(totals, merged(busy, IDLE))


def _call(call: TranscriptCall, turn: Turn, tree: SessionTree) -> Iterable[TimeSpan]:
    """The spans of a call, split where it waits."""
    if call.started is None or call.ended is None:
        return
    at = call.started
    for start, end in _waits(call, tree):
        if start > at:
            yield TimeSpan(Activity.TOOL, at, start, turn.id, call.tool)
        yield TimeSpan(Activity.WAIT, start, end, turn.id, f"waits for {many(len(call.children), 'sub-agent')}")
        at = end
    if call.ended > at:
        yield TimeSpan(Activity.TOOL, at, call.ended, turn.id, call.tool)


def _waits(call: TranscriptCall, tree: SessionTree) -> list[Interval]:
    assert call.started is not None
    assert call.ended is not None
    children = zip(call.children, call.queued, strict=True)
    lives = (
        (life[0] - queued, life[1])  # the wait begins with the request
        for name, queued in children
        if (child := tree.child(name)) and (life := _life(child))
    )
    clipped = ((max(start, call.started), min(end, call.ended)) for start, end in lives)
    return merged((start, end) for start, end in clipped if start < end)


def _life(tree: SessionTree) -> Interval | None:
    ends = journal.first_and_last(tree.folder)
    return (ends[0].ts, ends[1].ts) if ends else None


def merged(intervals: Iterable[Interval], gap: float = 0.0) -> list[Interval]:
    """Merge intervals into as few as possible, in order. Intervals that are at most `gap` apart become one."""
    whole: list[Interval] = []
    for start, end in sorted(intervals):
        if whole and start <= whole[-1][1] + gap:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


class Axis:
    """Maps times to a line from 0 to 1. Long idle periods are shortened."""

    def __init__(self, busy: Iterable[Interval]) -> None:
        busy = merged(busy, IDLE)
        self._knots = _knots(busy)
        self.length = self._knots[-1][1]
        """Seconds that are drawn."""
        self.left_out = (busy[-1][1] - busy[0][0] if busy else 0.0) - self.length
        """Seconds that are left out."""

    def place(self, time: float) -> float:
        """The position of a time (seconds since 1970), from 0 to 1."""
        number = min(bisect_left(self._knots, (time, 0.0), lo=1), len(self._knots) - 1)
        (at, drawn), (next_at, next_drawn) = self._knots[number - 1], self._knots[number]
        share = (time - at) / (next_at - at) if next_at > at else 0.0
        return (drawn + min(1.0, share) * (next_drawn - drawn)) / (self.length or 1.0)


def _knots(busy: Sequence[Interval]) -> list[Interval]:
    """Pairs of a time and its position on the line, in seconds; positions between them are linear."""
    if not busy:
        return [(0.0, 0.0), (0.0, 0.0)]
    knots, drawn = [(busy[0][0], 0.0)], 0.0
    for (start, end), after in zip(busy, [*busy[1:], None], strict=True):
        drawn += end - start
        knots.append((end, drawn))
        if after is not None:
            drawn += min(after[0] - end, IDLE)
            knots.append((after[0], drawn))
    return knots
