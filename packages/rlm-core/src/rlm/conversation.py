"""The one owner of an agent's state: what happens is folded into it first, and told to the sink then."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from rlm.adaptation import Adaptation
from rlm.budget import Stop
from rlm.events import Adapted, Answered, Dropped, Event, Said, Stopped
from rlm.history import UNFINISHED, Entry, Summary
from rlm.messages import Assistant, Forget, Kind, Message, System, ToolResult, User, joined_to
from rlm.ports import Sink
from rlm.state import State


class Conversation:
    """Whoever has the events that it emitted has its state.

    Chat templates differ in which message may follow which. Strict ones (Mistral's, Gemini's, many that llama.cpp runs)
    refuse a user message behind a tool's or another user's. So one that would stand there is joined to the message
    before it, which is dropped and said anew: that has not been sent yet, or nothing of it is cached any more.
    """

    def __init__(self, sink: Sink, state: State | None = None) -> None:
        self.state = state or State()
        self._sink = sink

    def emit(self, event: Event) -> None:
        self.state = self.state.after(event)
        self._sink(event)

    def tell(self, message: System | User) -> None:
        self.emit(Said(message))
        *_, before, last = (None, *self.state.history.entries)
        if isinstance(message, User) and before is not None and _takes(before.message, message):
            self._say_joined((before, last), before, message.parts)

    def drop(self, numbers: Collection[int], reason: str, summary: Summary | None = None) -> None:
        """Drop messages. What the user said, or a summary, is kept if it was joined to one of them."""
        entries = self.state.history.entries
        gone = [entry for entry in entries if entry.number in numbers]
        kept = [entry for entry in entries if entry.number not in numbers]
        self.emit(Dropped(tuple(numbers), reason, summary))
        self._keep(_worth_keeping(gone, kept))
        while len(run := _users_in_a_row(self.state.history.entries)) > 1:
            self._join(run)

    def forget(self, wish: Forget) -> None:
        """Drop the oldest turns for a summary of them; never the newest, which asks for it."""
        turns = self.state.history.live_turns()[:-1][: wish.turns]
        if turns:
            summary = Summary(turns[0], turns[-1], wish.summary)
            self.drop(self.state.history.in_turns(turns), "summarize", summary)

    def show(self, pictures: Collection[str]) -> None:
        """Pictures go in a message of their own: to most providers a tool result holds text alone."""
        if pictures:
            self.tell(User([{"type": "image_url", "image_url": {"url": url}} for url in pictures], Kind.NOTE))

    def shorten(self, number: int, content: str) -> None:
        """Give the tool result `number` of the newest turn another content.

        What is journalled is never changed: it and what follows it are dropped and said anew.
        """
        tail = [entry for entry in self.state.history.entries if entry.number >= number]
        self.emit(Dropped(tuple(entry.number for entry in tail), "shortened"))
        for entry in tail:
            message = entry.message
            if isinstance(message, ToolResult) and entry.number == number:
                message = replace(message, content=content)
            self._say_anew(message)

    def retract(self) -> None:
        """Take back a request for a summary, and the reply to it."""
        asides, asked_in = self.state.history.asides(), self.state.history.asked_in()
        if asides:
            self.emit(Dropped(asides, "summary_call"))
        for _, message in asked_in:
            self._say_anew(message)

    def adapt(self, adaptations: Collection[Adaptation]) -> bool:
        """Bring the messages into the form that the provider asks for. Whether that changed any."""
        before, after = self.state.history, self.state.history.adapted(adaptations)
        if after == before:
            return False
        now = {entry.number: entry.message for entry in after.entries}
        changed = [(e.number, now[e.number]) for e in before.entries if now.get(e.number, e.message) != e.message]
        gone = [entry.number for entry in before.entries if entry.number not in now]
        self.emit(Adapted(tuple(sorted(adaptations)), tuple(changed), tuple(gone)))
        return True

    def settle(self) -> None:
        """Leave nothing open: what `History.settle` does, told as events."""
        self.retract()
        for call in self.state.history.unanswered():
            self.emit(Answered(ToolResult(call, UNFINISHED, ok=False)))

    def close(self, stop: Stop, error: str = "") -> None:
        """Leave nothing open, and say how it ended."""
        self.settle()
        self.emit(Stopped(stop, self.state.answer, self.state.spent, error))

    def _keep(self, users: tuple[User, ...]) -> None:
        """Join these to the newest message."""
        if not users:
            return
        last = self.state.history.entries[-1]
        if isinstance(last.message, User | ToolResult):
            self._say_joined((last,), last, users)
        else:
            self.emit(Said(replace(users[0], joined=users[1:]), anew=True))

    def _join(self, run: Sequence[Entry]) -> None:
        """User messages that a drop left in a row: at the end they become one, elsewhere only the first stays."""
        base, *strays = run
        users = tuple(user for stray in strays for user in _users(stray.message))
        if strays[-1] is self.state.history.entries[-1]:
            self._say_joined(run, base, users)
        else:
            self._keep(users)
            self.emit(Dropped(tuple(stray.number for stray in strays), "joined"))

    def _say_joined(self, gone: Iterable[Entry], base: Entry, users: tuple[User, ...]) -> None:
        assert isinstance(base.message, User | ToolResult)
        self.emit(Dropped(tuple(entry.number for entry in gone), "joined"))
        self._say_anew(replace(base.message, joined=(*base.message.joined, *users)))

    def _say_anew(self, message: Message) -> None:
        assert not isinstance(message, Assistant)  # what the model said is never said again
        self.emit(Answered(message, anew=True) if isinstance(message, ToolResult) else Said(message, anew=True))


def _takes(before: Message, message: User) -> bool:
    """Whether `message` can be joined to the one before it. A picture in a tool result is refused by most."""
    return isinstance(before, User) or (isinstance(before, ToolResult) and isinstance(message.content, str))


def _users_in_a_row(entries: Iterable[Entry]) -> list[Entry]:
    """The first two or more of them; else what is no matter."""
    run: list[Entry] = []
    for entry in entries:
        if isinstance(entry.message, User):
            run.append(entry)
        elif len(run) > 1:
            break
        else:
            run = []
    return run


def _worth_keeping(gone: Iterable[Entry], kept: Iterable[Entry]) -> tuple[User, ...]:
    """What was joined to messages that go and must stay: what the user said, and the summary if there is no newer."""
    joined = [user for entry in gone for user in joined_to(entry.message)]
    newer = any(user.kind is Kind.SUMMARY for entry in kept for user in _users(entry.message))
    kinds = {Kind.TASK} if newer else {Kind.TASK, Kind.SUMMARY}
    return tuple(user for user in joined if user.kind in kinds)


def _users(message: Message) -> tuple[User, ...]:
    return message.parts if isinstance(message, User) else joined_to(message)
