"""A session as training data: what the model saw, and what it said to it.

One JSON line per segment. A segment is a conversation that only grew: each request in it is the one before, that one's
reply, and something more. Where messages left the context, or the tools or the model changed, a new segment begins.

`datasets` takes its types from the beginning of the first file, and refuses what differs later. So all columns have
the same type in each row: what differs in shape between sessions (tools, parameters, what the server says of single
tokens) is JSON as text, and messages,
which no type fits, must be seen as JSON from the first row on. That they are if some have a field that others lack,
and `weight` sees to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from rlm.core.messages import Usage, Wire
from rlm.present.export import Arguments
from rlm.present.export.text import dump_ascii, read_object
from rlm.present.export.token_data import read_token_data
from rlm.sessions import journal
from rlm.sessions.records import AdaptRecord, DropRecord, MessageRecord, RequestRecord, TokenCounts, wire
from rlm.sessions.store import SessionTree


@dataclass(slots=True)
class Segment:
    """`seen` are the ids of its messages, as far as they are written; `length` is their number."""

    request: RequestRecord
    seen: set[int] = field(default_factory=set)
    length: int = 0
    completions: list[Wire] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def add(self, record: MessageRecord) -> None:
        """A completion, for which all that the model saw is written."""
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

    def goes_on(self, request: RequestRecord) -> bool:
        return self.request.tools == request.tools and self.request.model == request.model


def chat(tree: SessionTree, arguments: Arguments = Arguments.MAPPING) -> Iterator[str]:
    """Every segment of every agent."""
    for agent in tree.walk():
        with journal.opened(agent.folder) as stream:
            yield from _Writer(agent, stream, arguments).lines()


class _Writer:
    """Writes the segments of one agent while it reads its journal: it holds where a message is, not the message."""

    def __init__(self, tree: SessionTree, stream: BinaryIO, arguments: Arguments) -> None:
        self._tree = tree
        self._stream = stream
        self._arguments = arguments
        self._live: dict[int, int] = {}  # where each message of the context begins, by its id
        self._forms: dict[int, Wire] = {}  # of messages that are sent in another form than they were said in
        self._new: list[int] = []  # ids since the newest completion
        self._request = RequestRecord(0, 0.0, tree.meta.model, (), {})  # until the journal names one
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
                    yield from self._message(record, records.place)
        yield from self._end()

    def _drop(self, ids: Iterable[int], forms: dict[int, Wire]) -> Iterator[str]:
        """`forms`: what others are from here on."""
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
        if self._segment is not None and not self._segment.goes_on(self._request):
            yield from self._end()
        if self._segment is None:
            self._segment, self._new = Segment(self._request), [each for each in self._live if each != id]
            yield '{"messages": ['
        yield from self._seen(self._segment)
        self._segment.add(record)
        yield from self._write(self._segment, id, record.message, weight=1)

    def _seen(self, segment: Segment) -> Iterator[str]:
        """What the model saw for the first time."""
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
        """The rest of the segment's line. All messages that are still there are new to the next."""
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
    """Without the cost, which not all have."""
    return {"estimated": False} | wire(TokenCounts.of(replace(usage, cost=None)))


def _written(message: Wire, arguments: Arguments, weight: int) -> Wire:
    """The message as a row holds it. `weight` is 0 also for a completion that cannot be said in this form."""
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
    """The call with its arguments as an object, and whether they are one; else they are kept as the text they are."""
    text = call["function"]["arguments"]
    values = read_object(text)
    mapping = {"arguments": text} if values is None else values
    return call | {"function": call["function"] | {"arguments": mapping}}, values is not None
