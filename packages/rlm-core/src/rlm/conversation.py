"""The one owner of an agent's state: what happens is folded into it first, and told to the sink then."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from rlm.budget import Stop
from rlm.events import Answered, Dropped, Event, Said, Stopped
from rlm.history import UNFINISHED, Summary
from rlm.messages import Assistant, Forget, Kind, System, ToolResult, User
from rlm.ports import Sink
from rlm.state import State


class Conversation:
    """Whoever has the events that it emitted has its state."""

    def __init__(self, sink: Sink, state: State | None = None) -> None:
        self.state = state or State()
        self._sink = sink

    def emit(self, event: Event) -> None:
        self.state = self.state.after(event)
        self._sink(event)

    def tell(self, message: System | User) -> None:
        self.emit(Said(message))

    def drop(self, numbers: Collection[int], reason: str) -> None:
        self.emit(Dropped(tuple(numbers), reason))

    def forget(self, wish: Forget) -> None:
        """Drop the oldest turns for a summary of them; never the newest, which asks for it."""
        turns = self.state.history.live_turns()[:-1][: wish.turns]
        if turns:
            summary = Summary(turns[0], turns[-1], wish.summary)
            self.emit(Dropped(self.state.history.in_turns(turns), "summarize", summary))

    def show(self, pictures: Collection[str]) -> None:
        """Pictures go in a message of their own: a tool result holds text alone."""
        if pictures:
            self.tell(User([{"type": "image_url", "image_url": {"url": url}} for url in pictures], Kind.NOTE))

    def shorten(self, number: int, content: str) -> None:
        """Give the tool result `number` of the newest turn another content.

        What is journalled is never changed: it and what follows it are dropped and said anew.
        """
        tail = [entry for entry in self.state.history.entries if entry.number >= number]
        self.drop([entry.number for entry in tail], "shortened")
        for entry in tail:
            message = entry.message
            assert not isinstance(message, Assistant)  # that would be a newer turn
            if isinstance(message, ToolResult):
                self.emit(Answered(replace(message, content=content) if entry.number == number else message))
            else:
                self.tell(message)

    def settle(self) -> None:
        """Leave nothing open: what `History.settle` does, told as events."""
        if asides := self.state.history.asides():
            self.drop(asides, "summary_call")
        for call in self.state.history.unanswered():
            self.emit(Answered(ToolResult(call, UNFINISHED, ok=False)))

    def close(self, stop: Stop, error: str = "") -> None:
        """Leave nothing open, and say how it ended."""
        self.settle()
        self.emit(Stopped(stop, self.state.answer, self.state.spent, error))
