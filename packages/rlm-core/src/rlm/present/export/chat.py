"""A session as training data: the messages that the model saw, and its replies.

One JSON line per segment. In a segment the conversation only grows: each request is the previous one, its reply, and
more messages. A new segment begins when messages leave the context, or when the tools or the model change.

`datasets` infers its types from the beginning of the first file, and rejects other types later. So each column has the
same type in all rows. Values whose shape differs between sessions (tools, parameters, token data of the server) are
JSON as text. Messages fit no type, so `datasets` must treat them as JSON from the first row on. It does so if some
messages have a field that others lack; the field `weight` ensures this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from rlm.core.messages import Usage, Wire
from rlm.present.export import Arguments
from rlm.present.export.portable_json import dump_ascii, read_object
from rlm.present.export.token_data import read_token_data
from rlm.sessions import journal
from rlm.sessions.records import AdaptRecord, DropRecord, MessageRecord, RequestRecord, TokenCounts, wire
from rlm.sessions.store import SessionTree


@dataclass(slots=True)
class Segment:
    """A segment. `seen` holds the ids of its messages that are written; `length` is their number."""

    request: RequestRecord
    seen: set[int] = field(default_factory=set)
    length: int = 0
    completions: list[Wire] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def add(self, record: MessageRecord) -> None:
        """Add a completion, after all messages that the model saw for it are written."""
        usage = record.usage.usage if record.usage else Usage()
        tokens = read_token_data(record.token_data).wire()
        self.completions.append(
            {
                "index": self.length,
                "usage": _usage(usage),
                "finish_reason": record.finish_reason or "",
                "token_data": dump_ascii(tokens) if tokens else "",
            }
        )
        self.usage += usage

    def continues_with(self, request: RequestRecord) -> bool:
        """Whether a request with these tools and this model belongs to the segment."""
        return self.request.tools == request.tools and self.request.model == request.model


def chat(tree: SessionTree, arguments: Arguments = Arguments.MAPPING) -> Iterator[str]:
    """Yield every segment of every agent."""
    for agent in tree.walk():
        with journal.opened(agent.folder) as stream:
            yield from _Writer(agent, stream, arguments).lines()


class _Writer:
    """Writes the segments of one agent while it reads its journal.

    It stores positions of messages, not the messages.
    """

    def __init__(self, tree: SessionTree, stream: BinaryIO, arguments: Arguments) -> None:
        self._tree = tree
        self._stream = stream
        self._arguments = arguments
        self._live: dict[int, int] = {}  # the position of each message in the context, by its id
        self._forms: dict[int, Wire] = {}  # messages that are sent in a changed form, by their id
        self._new: list[int] = []  # ids since the newest completion
        self._request = RequestRecord(0, 0.0, tree.meta.model, (), {})  # until the journal has one
        self._segment: Segment | None = None
        self._number = 0

    def lines(self) -> Iterator[str]:
        records = self._tree.records()
        for record in records:
            match record:
                case RequestRecord():
                    self._request = record
                case DropRecord():
                    yield from self._drop(record.ids, record.left)
                case AdaptRecord():
                    yield from self._drop(record.gone, record.messages)
                case MessageRecord():
                    yield from self._message(record, records.offset)
        yield from self._end()

    def _drop(self, ids: Iterable[int], forms: dict[int, Wire]) -> Iterator[str]:
        """Remove messages from the context. `forms`: the new form of other messages."""
        for id in ids:
            self._live.pop(id, None)
        self._forms |= forms
        if self._segment is not None and not self._segment.seen.isdisjoint({*ids, *forms}):
            yield from self._end()

    def _message(self, record: MessageRecord, place: int) -> Iterator[str]:
        id = record.id
        self._live[id] = place
        if record.role != "assistant":
            self._new.append(id)
            return
        if self._segment is not None and not self._segment.continues_with(self._request):
            yield from self._end()
        if self._segment is None:
            self._segment, self._new = Segment(self._request), [each for each in self._live if each != id]
            yield '{"messages": ['
        yield from self._write_new(self._segment)
        self._segment.add(record)
        yield from self._write(self._segment, id, record.message, weight=1)

    def _write_new(self, segment: Segment) -> Iterator[str]:
        """Write the messages that are new to the model."""
        for id in self._new:
            if id in self._live:
                message = self._forms.get(id) or journal.message_at(self._stream, self._live[id]).message
                yield from self._write(segment, id, message, weight=0)
        self._new = []

    def _write(self, segment: Segment, id: int, message: Wire, weight: int) -> Iterator[str]:
        yield (", " if segment.length else "") + dump_ascii(_written(message, self._arguments, weight))
        segment.seen.add(id)
        segment.length += 1

    def _end(self) -> Iterator[str]:
        """Write the rest of the segment's line.

        All messages that are still in the context are new to the next segment.
        """
        segment, self._segment = self._segment, None
        if segment is None:
            return
        meta = self._tree.meta
        columns = {
            "completions": segment.completions,
            "tools": dump_ascii(segment.request.tools),
            "model": segment.request.model,
            "params": dump_ascii(segment.request.params),
            "usage": _usage(segment.usage),
            "session": meta.session_id,
            "agent": self._tree.agent,
            "segment": self._number,
            "depth": meta.depth,
            "parent": meta.parent or "",
            "parent_call": meta.parent_call,
            "status": meta.status,
            "stop_reason": meta.stop_reason or "",
            "reward": None,
        }
        self._number += 1
        yield "]" + "".join(f", {dump_ascii(name)}: {dump_ascii(value)}" for name, value in columns.items()) + "}\n"


def _usage(usage: Usage) -> Wire:
    """The usage without its cost, which not all sessions have."""
    return {"estimated": False} | wire(TokenCounts.of(replace(usage, cost=None)))


def _written(message: Wire, arguments: Arguments, weight: int) -> Wire:
    """The message as it is in a row. `weight` is 0 also for a completion that this form cannot represent."""
    if message["role"] != "assistant":
        return message
    if arguments is Arguments.TEXT:
        return message | {"weight": weight}
    calls = [_with_mapping(call) for call in message.get("tool_calls") or ()]
    exact = all(was_object for _, was_object in calls)
    content = {} if message.get("content") is not None else {"content": ""}  # many templates join it to a text
    mapped = {"tool_calls": [call for call, _ in calls]} if calls else {}
    return message | content | mapped | {"weight": weight if exact else 0}


def _with_mapping(call: Wire) -> tuple[Wire, bool]:
    """Convert a call's arguments to an object. Return the call, and whether that worked; if not, they stay text."""
    text = call["function"]["arguments"]
    values = read_object(text)
    mapping = {"arguments": text} if values is None else values
    return call | {"function": call["function"] | {"arguments": mapping}}, values is not None
