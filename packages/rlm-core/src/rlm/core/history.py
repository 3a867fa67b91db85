"""The conversation as an immutable value. Every edit returns a new one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from types import UnionType

from msgspec import Struct
from msgspec.structs import replace

from rlm.core.adaptation import Adaptation, adapt
from rlm.core.messages import Assistant, Kind, Message, ToolCall, ToolResult, User, joined_to, size

OPENING = 0
"""The turn number of messages before the first turn, and of messages that belong to no turn."""


class Entry(Struct, frozen=True):
    """A message, its number among all messages ever said, and the turn it belongs to."""

    number: int
    turn: int
    message: Message


class Summary(Struct, frozen=True):
    """The model's summary of the turns that it dropped."""

    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"[turns {self.first}-{self.last}] {self.text}"


class History(Struct, frozen=True):
    """The messages that the model sees next. `said` and `turns` also count what was dropped since the session's start.

    `size` is the number of characters of all messages. It is kept up to date: counting takes 2 ms at 400 turns.
    """

    entries: tuple[Entry, ...] = ()
    said: int = 0
    turns: int = 0
    summaries: tuple[Summary, ...] = ()
    size: int = 0

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(entry.message for entry in self.entries)

    def add(self, message: Message, *, aside: bool = False) -> History:
        """Append `message`. A turn is an assistant message with its tool results and notes.

        An `aside` is an assistant message that is no turn: the reply to a request for a summary.
        """
        turns = self.turns + (isinstance(message, Assistant) and not aside)
        lasting = isinstance(message, User) and any(part.kind is not Kind.NOTE for part in message.parts)
        entry = Entry(self.said, OPENING if lasting or aside else turns, message)
        size_now = self.size + size(message)
        return replace(self, entries=(*self.entries, entry), said=self.said + 1, turns=turns, size=size_now)

    def drop(self, numbers: Collection[int], summary: Summary | None = None, left: Collection[int] = ()) -> History:
        """Remove these messages. Messages in `left` leave behind the lasting user messages that were joined to them."""
        gone = frozenset(numbers)
        entries = []
        for entry in self.entries:
            if entry.number in left:
                first, *rest = lasting(entry.message)
                entries.append(Entry(entry.number, OPENING, replace(first, joined=tuple(rest))))
            elif entry.number not in gone:
                entries.append(entry)
        summaries = (*self.summaries, summary) if summary else self.summaries
        now = sum(size(entry.message) for entry in entries)
        return replace(self, entries=tuple(entries), summaries=summaries, size=now)

    def adapted(self, adaptations: Collection[Adaptation]) -> History:
        """Return the same conversation in another form. Messages keep their numbers."""
        entries = tuple(replace(entry, message=adapt(entry.message, adaptations)) for entry in self.entries)
        if Adaptation.NEWEST_SUMMARY in adaptations:
            entries = _newest_summary(entries)
        if Adaptation.ROLE_ORDER in adaptations:
            entries = _joined(entries, User | ToolResult)
        elif Adaptation.JOINED_USERS in adaptations:
            entries = _joined(entries, User)
        return replace(self, entries=entries, size=sum(size(entry.message) for entry in entries))

    def live_turns(self) -> list[int]:
        """Return the numbers of the turns in the context, oldest first."""
        return sorted({entry.turn for entry in self.entries} - {OPENING})

    def in_turns(self, turns: Collection[int]) -> tuple[int, ...]:
        """Return the numbers of the messages of these turns."""
        return tuple(entry.number for entry in self.entries if entry.turn in turns)

    def of_kind(self, *kinds: Kind) -> tuple[int, ...]:
        """Return the numbers of the user messages of these kinds."""
        return tuple(e.number for e in self.entries if isinstance(e.message, User) and e.message.kind in kinds)

    @property
    def summary_count(self) -> int:
        """The number of summaries in the context that compactions left."""
        return sum(user.kind is Kind.SUMMARY for entry in self.entries for user in users_of(entry.message))

    def asides(self) -> tuple[int, ...]:
        """Return the numbers of a compaction's messages that were not taken back yet."""
        replies = (e.number for e in self.entries if e.turn == OPENING and isinstance(e.message, Assistant))
        return (*self.of_kind(Kind.ASK), *replies, *(number for number, _ in self.before_request()))

    def before_request(self) -> tuple[tuple[int, Message], ...]:
        """Return the messages to which a request for a summary was joined, in their form before that."""
        return tuple(
            (e.number, replace(e.message, joined=_without_request(e.message.joined)))
            for e in self.entries
            if isinstance(e.message, User | ToolResult) and _without_request(e.message.joined) != e.message.joined
        )

    def unanswered(self) -> list[ToolCall]:
        """Return the calls of the newest turn that have no result. Ids may repeat between turns."""
        turn = [entry.message for entry in self.entries if entry.turn == self.turns != OPENING]
        answered = {message.call.id for message in turn if isinstance(message, ToolResult)}
        asked = [call for message in turn if isinstance(message, Assistant) for call in message.calls]
        return [call for call in asked if call.id not in answered]


def _without_request(users: Iterable[User]) -> tuple[User, ...]:
    return tuple(user for user in users if user.kind is not Kind.ASK)


def users_of(message: Message) -> tuple[User, ...]:
    """Return the user messages in a message."""
    return message.parts if isinstance(message, User) else joined_to(message)


def lasting(message: Message) -> tuple[User, ...]:
    """Return the user messages, joined to a message, that stay when it is dropped: tasks and summaries."""
    return tuple(user for user in joined_to(message) if user.kind in (Kind.TASK, Kind.SUMMARY))


def _newest_summary(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    found = False
    kept: list[Entry] = []
    for entry in reversed(tuple(entries)):
        users = users_of(entry.message)
        others = tuple(user for user in users if user.kind is not Kind.SUMMARY)
        if found and others != users:
            kept += [] if isinstance(entry.message, User) and not others else [_with_users(entry, others)]
        else:
            kept.append(entry)
        found = found or others != users
    return tuple(reversed(kept))


def _with_users(entry: Entry, users: tuple[User, ...]) -> Entry:
    assert isinstance(entry.message, User | ToolResult)
    if isinstance(entry.message, User):
        return replace(entry, message=replace(users[0], joined=users[1:]))
    return replace(entry, message=replace(entry.message, joined=users))


def _joined(entries: Iterable[Entry], kinds: type[User] | UnionType) -> tuple[Entry, ...]:
    """Join each user message that follows a message of these kinds to that message."""
    kept: list[Entry] = []
    for entry in entries:
        before = kept[-1].message if kept else None
        if isinstance(entry.message, User) and isinstance(before, kinds):
            assert isinstance(before, User | ToolResult)
            joined = replace(before, joined=(*before.joined, *entry.message.parts))
            kept[-1] = replace(kept[-1], message=joined)
        else:
            kept.append(entry)
    return tuple(kept)
