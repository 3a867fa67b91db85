"""The one owner of an agent's state: each event is first folded into the state, then passed to the sink."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

from msgspec.structs import replace

from rlm.core.adaptation import Adaptation
from rlm.core.budget import Stop
from rlm.core.events import Adapted, Dropped, Event, Said, Stopped, ToolReturned
from rlm.core.history import OPENING, Summary, lasting, users_of
from rlm.core.messages import Assistant, Forget, Kind, Message, System, ToolResult, User
from rlm.core.ports import Sink
from rlm.core.state import ConversationState

UNFINISHED = "Not run, or not finished: the run was stopped."
"""The result of a call that has no other result."""


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
        """Fold an event into the state, then pass it to the sink."""
        self.state = self.state.after(event)
        self._sink(event)

    def append(self, message: System | User) -> None:
        """Append a message. It may be joined to the message before it; see the class."""
        self.emit(Said(message))
        *_, before, last = (None, *self.state.history.entries)
        if before is None or not isinstance(message, User):
            return
        base = before.message
        # most providers refuse a picture in a tool result
        if isinstance(base, User) or (isinstance(base, ToolResult) and isinstance(message.content, str)):
            self.emit(Dropped((before.number, last.number), "joined"))
            self._append_again(replace(base, joined=(*base.joined, *message.parts)))

    def drop(self, numbers: Collection[int], reason: str, summary: Summary | None = None) -> None:
        """Drop messages. A user's message or the newest summary that was joined to one of them stays in its place."""
        entries = self.state.history.entries
        kept = [user for entry in entries if entry.number not in numbers for user in users_of(entry.message)]
        newer_summary = any(user.kind is Kind.SUMMARY for user in kept)
        left = tuple(
            entry.number
            for entry in entries
            if entry.number in numbers
            and any(user.kind is Kind.TASK or not newer_summary for user in lasting(entry.message))
        )
        after = self.state.history.drop(numbers, summary, left)
        forms = tuple(entry.message for entry in after.entries if entry.number in left)
        self.emit(Dropped(tuple(numbers), reason, summary, left, forms))
        if self.state.history.summary_count > 1:
            self.adapt([Adaptation.NEWEST_SUMMARY])
        messages = self.state.history.messages
        if any(isinstance(one, User) and isinstance(two, User) for one, two in pairwise(messages)):
            self.adapt([Adaptation.JOINED_USERS])

    def forget(self, request: Forget) -> None:
        """Replace the oldest turns by a summary, but never the newest turn, which requests it."""
        turns = self.state.history.live_turns()[:-1][: request.turns]
        if turns:
            summary = Summary(turns[0], turns[-1], request.summary)
            self.drop(self.state.history.in_turns(turns), "summarize", summary)

    def tasks(self) -> list[tuple[int, str]]:
        """Return the user's tasks, oldest first: the number of the message, and its text."""
        tasks = []
        for entry in self.state.history.entries:
            parts = entry.message.parts if isinstance(entry.message, User) else ()
            contents = [part.content for part in parts if part.kind is Kind.TASK]
            if contents:
                tasks.append((entry.number, "\n\n".join(each for each in contents if isinstance(each, str))))
        return tasks

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
            self._append_again(message)

    def retract(self) -> None:
        """Take back a request for a summary, and the reply to it."""
        asides, before_request = self.state.history.asides(), self.state.history.before_request()
        if asides:
            self.emit(Dropped(asides, "summary_call"))
        for _, message in before_request:
            self._append_again(message)

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
        """Close requests for a summary and calls without a result, so that a model accepts the conversation."""
        self.retract()
        for call in self.state.history.unanswered():
            self.emit(ToolReturned(ToolResult(call, UNFINISHED, ok=False)))

    def close(self, stop: Stop, error: str = "") -> None:
        """Close what is open, and record how the run ended."""
        self.settle()
        self.emit(Stopped(stop, self.state.answer, self.state.spent, error))

    def _append_again(self, message: Message) -> None:
        assert not isinstance(message, Assistant)  # the model's messages are never appended again
        self.emit(ToolReturned(message, anew=True) if isinstance(message, ToolResult) else Said(message, anew=True))
