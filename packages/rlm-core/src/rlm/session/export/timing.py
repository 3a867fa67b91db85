"""Where the time of a session went: what each agent did when, and when it waited for others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rlm.session.store import SessionTree
from rlm.session.story import Call, Turn, tell
from rlm.words import many

IDLE = 10.0
"""Seconds. A longer time in which nobody does anything (between two runs) is drawn as this long."""


class Doing(StrEnum):
    MODEL = "model"  # the model answers
    TOOL = "tool"  # a cell or a command runs
    WAIT = "wait"  # a cell waits for sub-agents


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds since 1970. `place` is the id of the turn's record, which says where in the page it is told."""

    doing: Doing
    start: float
    end: float
    place: int
    label: str

    @property
    def length(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Times:
    """What one agent did, in order."""

    spans: tuple[Span, ...]

    def total(self, doing: Doing) -> float:
        """Seconds, without those that a cell spent waiting for sub-agents if `doing` is TOOL."""
        return sum(span.length for span in self.spans if span.doing is doing)

    @property
    def start(self) -> float:
        return min((span.start for span in self.spans), default=0.0)

    @property
    def end(self) -> float:
        return max((span.end for span in self.spans), default=0.0)


def times(tree: SessionTree) -> Times:
    turns = [item for item in tell(tree.records()) if isinstance(item, Turn)]
    spans = [span for turn in turns for span in _turn(turn, tree)]
    return Times(tuple(sorted(spans, key=lambda span: span.start)))


def _turn(turn: Turn, tree: SessionTree) -> Iterable[Span]:
    yield Span(Doing.MODEL, turn.started, turn.ended, turn.id, f"turn {turn.number}" if turn.number else "summary")
    for call in turn.calls:
        yield from _call(call, turn, tree)


def _call(call: Call, turn: Turn, tree: SessionTree) -> Iterable[Span]:
    """The call, cut where it waits."""
    if call.started is None or call.ended is None:
        return
    at = call.started
    for start, end in _waits(call, tree):
        if start > at:
            yield Span(Doing.TOOL, at, start, turn.id, call.tool)
        yield Span(Doing.WAIT, start, end, turn.id, f"waits for {many(len(call.children), 'sub-agent')}")
        at = end
    if call.ended > at:
        yield Span(Doing.TOOL, at, call.ended, turn.id, call.tool)


def _waits(call: Call, tree: SessionTree) -> list[tuple[float, float]]:
    assert call.started is not None
    assert call.ended is not None
    lives = (life for name in call.children if (child := tree.child(name)) and (life := _life(child)))
    clipped = ((max(start, call.started), min(end, call.ended)) for start, end in lives)
    return merged((start, end) for start, end in clipped if start < end)


def _life(tree: SessionTree) -> tuple[float, float] | None:
    stamps = [record["ts"] for record in tree.records()]
    return (stamps[0], stamps[-1]) if stamps else None


def merged(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time, as few intervals, in order."""
    whole: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if whole and start <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((start, end))
    return whole


class Axis:
    """Places times on a line from 0 to 1. Long idle times are shortened."""

    def __init__(self, spans: Iterable[Span]) -> None:
        busy = merged((span.start, span.end) for span in spans)
        self._knots = _knots(busy)
        self.length = self._knots[-1][1]
        """Seconds that are drawn."""
        self.left_out = (busy[-1][1] - busy[0][0] if busy else 0.0) - self.length
        """Seconds that are not."""

    def place(self, time: float) -> float:
        number = min(bisect_left(self._knots, (time, 0.0), lo=1), len(self._knots) - 1)
        (at, drawn), (next_at, next_drawn) = self._knots[number - 1], self._knots[number]
        share = (time - at) / (next_at - at) if next_at > at else 0.0
        return (drawn + min(1.0, share) * (next_drawn - drawn)) / (self.length or 1.0)


def _knots(busy: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Times and where on the line they are, in seconds; straight in between."""
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
