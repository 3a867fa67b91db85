"""The one owner of an agent's state: each event is first folded into the state, then passed to the sink."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import TypeGuard

from msgspec.structs import replace

from rlm.core.adaptation import Adaptation
from rlm.core.budget import Stop
from rlm.core.events import Adapted, Dropped, Event, Said, Stopped, ToolReturned
from rlm.core.history import OPENING, UNFINISHED, Entry, Summary, lasting, users_of
from rlm.core.messages import Assistant, Forget, Kind, Message, System, ToolResult, User, Wire
from rlm.core.ports import Sink
from rlm.core.state import ConversationState


class Conversation:
    """One agent's conversation. All of its state can be rebuilt from the events that it emitted.

    Chat templates differ in the order of messages that they accept. Strict ones (Mistral's, Gemini's, many that
    llama.cpp runs) refuse a user message after a tool's or another user's. So `append` joins such a message to the one
    before it: that one, mostly not sent yet, is dropped and appended again. If a drop leaves user messages in a
    row, they are joined in place, because the order of what the user said matters.
    """

    def __init__(self, sink: Sink, state: ConversationState | None = None) -> None:
        self.state = state or ConversationState()
        self._sink = sink

    def emit(self, event: Event) -> None:
        self.state = self.state.after(event)
        self._sink(event)

    def append(self, message: System | User) -> None:
        self.emit(Said(message))
        *_, before, last = (None, *self.state.history.entries)
        if isinstance(message, User) and before is not None and _takes(before.message, message):
            self._say_joined((before, last), before, message.parts)

    def drop(self, numbers: Collection[int], reason: str, summary: Summary | None = None) -> None:
        """Drop messages. A user's message or a summary that was joined to one of them stays in its place."""
        entries = self.state.history.entries
        kept = [user for entry in entries if entry.number not in numbers for user in users_of(entry.message)]
        newer = any(user.kind is Kind.SUMMARY for user in kept)
        gone = [entry for entry in entries if entry.number in numbers]
        left = tuple(entry.number for entry in gone if _outlasts(entry.message, newer_summary=newer))
        after = self.state.history.drop(numbers, summary, left)
        forms = tuple(entry.message for entry in after.entries if entry.number in left)
        self.emit(Dropped(tuple(numbers), reason, summary, left, forms))
        if self.state.history.summaries_told > 1:
            self.adapt([Adaptation.NEWEST_SUMMARY])
        if _users_in_a_row(self.state.history.entries):
            self.adapt([Adaptation.JOINED_USERS])

    def forget(self, wish: Forget) -> None:
        """Replace the oldest turns by a summary, but never the newest turn, which requests it."""
        turns = self.state.history.live_turns()[:-1][: wish.turns]
        if turns:
            summary = Summary(turns[0], turns[-1], wish.summary)
            self.drop(self.state.history.in_turns(turns), "summarize", summary)

    def tasks(self) -> list[tuple[int, str]]:
        """Return the user's tasks, oldest first: the number of the message, and its text."""
        users = ((e.number, e.message.parts) for e in self.state.history.entries if isinstance(e.message, User))
        texts = ((number, [p.content for p in parts if p.kind is Kind.TASK]) for number, parts in users)
        return [(number, "\n\n".join(filter(_is_text, contents))) for number, contents in texts if contents]

    def take_back(self, number: int) -> None:
        """Drop the message `number` and all later messages of every role."""
        gone = tuple(entry.number for entry in self.state.history.entries if entry.number >= number)
        self.emit(Dropped(gone, "taken_back"))

    def hide(self, turn: int) -> bool:
        """Drop a turn, but keep what the user said in it. Return whether the turn exists."""
        numbers = self.state.history.in_turns([turn]) if turn != OPENING else ()
        if numbers:
            self.drop(numbers, "hidden")
        return bool(numbers)

    def show(self, pictures: Collection[str]) -> None:
        """Append pictures as a message of their own: most providers accept only text in a tool result."""
        if pictures:
            self.append(User([{"type": "image_url", "image_url": {"url": url}} for url in pictures], Kind.NOTE))

    def shorten(self, number: int, content: str) -> None:
        """Replace the content of the tool result `number` of the newest turn.

        The journal is never changed, so this result and all later messages are dropped and appended again.
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
        """Change the form of the messages. Return whether that changed any."""
        before = self.state.history
        after = before.adapted(adaptations)
        if after == before:
            return False
        now = {entry.number: entry.message for entry in after.entries}
        changed = [(e.number, now[e.number]) for e in before.entries if now.get(e.number, e.message) != e.message]
        gone = [entry.number for entry in before.entries if entry.number not in now]
        self.emit(Adapted(tuple(sorted(adaptations)), tuple(changed), tuple(gone)))
        return True

    def settle(self) -> None:
        """Close what is open, as `History.settle` does, by emitting events."""
        self.retract()
        for call in self.state.history.unanswered():
            self.emit(ToolReturned(ToolResult(call, UNFINISHED, ok=False)))

    def close(self, stop: Stop, error: str = "") -> None:
        """Close what is open, and record how the run ended."""
        self.settle()
        self.emit(Stopped(stop, self.state.answer, self.state.spent, error))

    def _say_joined(self, gone: Iterable[Entry], base: Entry, users: tuple[User, ...]) -> None:
        assert isinstance(base.message, User | ToolResult)
        self.emit(Dropped(tuple(entry.number for entry in gone), "joined"))
        self._say_anew(replace(base.message, joined=(*base.message.joined, *users)))

    def _say_anew(self, message: Message) -> None:
        assert not isinstance(message, Assistant)  # the model's messages are never appended again
        self.emit(ToolReturned(message, anew=True) if isinstance(message, ToolResult) else Said(message, anew=True))


def _is_text(content: str | list[Wire]) -> TypeGuard[str]:
    return isinstance(content, str)


def _takes(before: Message, message: User) -> bool:
    """Return whether `message` can be joined to the one before it. Most providers refuse a picture in a tool result."""
    return isinstance(before, User) or (isinstance(before, ToolResult) and isinstance(message.content, str))


def _users_in_a_row(entries: Iterable[Entry]) -> bool:
    return any(isinstance(one.message, User) and isinstance(two.message, User) for one, two in pairwise(entries))


def _outlasts(message: Message, *, newer_summary: bool) -> bool:
    """Return whether joined user messages stay when their message is dropped: tasks, and the newest summary."""
    return any(user.kind is Kind.TASK or not newer_summary for user in lasting(message))
