"""Converts records to events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from rlm.core import events
from rlm.core.adaptation import Adaptation, short_id
from rlm.core.budget import Spent, Stop
from rlm.core.events import CallKey, Event
from rlm.core.history import Summary
from rlm.core.messages import (
    CHAT,
    Kind,
    Message,
    Reply,
    System,
    ToolCall,
    ToolResult,
    User,
    Wire,
    assistant,
)
from rlm.errors import SessionError
from rlm.sessions import records
from rlm.sessions.encoder import JOURNALLED_AS_IT_IS
from rlm.sessions.records import Journalled, TokenCounts


class RecordDecoder:
    """Converts records to events. Invariant: `replay` of them equals `replay` of the encoded events."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._calls: dict[str, ToolCall] = {}

    def decode(self, record: Journalled) -> Event | None:
        """Return the event of a record; None for a type that has none.

        Raises:
            SessionError: the record does not fit the records before it.
        """
        try:
            match record:
                case records.MessageRecord():
                    return self._message(record)
                case records.DropRecord():
                    return self._drop(record)
                case records.AdaptRecord():
                    return self._adapt(record)
                case _:
                    return _decoded(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SessionError(f"Record {record.id} of the journal is invalid: {error!r}.") from None

    def _message(self, record: records.MessageRecord) -> Event:
        self._numbers[record.id] = len(self._numbers)
        joined = tuple(User(text.content, Kind(text.kind or Kind.TASK)) for text in record.joined)
        match record.role:
            case "system":
                return events.Said(System(record.message["content"]))
            case "user":
                return events.Said(User(_own_content(record), Kind(record.kind or Kind.TASK), joined), record.anew)
            case "assistant":
                return self._replied(record)
            case _:
                call = self._calls[record.message["tool_call_id"]]
                result = ToolResult(call, _own_content(record), bool(record.ok), joined, record.exit_status)
                return events.ToolReturned(result, record.anew)

    def _replied(self, record: records.MessageRecord) -> events.Replied:
        message = assistant(record.message, record.written, record.items)
        if not record.aside:  # calls of an aside are never answered, and their ids may be those of a turn
            self._calls.update((call.id, call) for call in message.calls)
        usage = (record.usage or TokenCounts()).usage
        return events.Replied(Reply(message, usage, record.finish_reason or "", record.token_data), record.aside)

    def _drop(self, record: records.DropRecord) -> events.Dropped:
        left = tuple(self._numbers[id] for id in record.left)
        numbers = (*(self._numbers[id] for id in record.ids), *left)
        summary = None
        if record.summary is not None and record.turns is not None:
            summary = Summary(*record.turns, record.summary)
        return events.Dropped(numbers, record.reason, summary, left)

    def _adapt(self, record: records.AdaptRecord) -> events.Adapted:
        adaptations = tuple(map(Adaptation, record.adaptations))
        if Adaptation.SHORT_IDS in adaptations:
            renamed = [replace(call, id=short_id(call.id)) for call in self._calls.values()]
            self._calls.update((call.id, call) for call in renamed)
        return events.Adapted(adaptations)


def _own_content(record: records.MessageRecord) -> Any:
    """Return the content of a message without the messages that were joined to it."""
    return record.message["content"] if record.content is None else record.content


_AS_IT_IS: dict[type[Journalled], type[Event]] = {record: event for event, record in JOURNALLED_AS_IT_IS.items()}


def _decoded(record: Journalled) -> Event | None:
    """Decode a record that does not depend on earlier records."""
    if (kind := _AS_IT_IS.get(type(record))) is not None:
        return kind(*(getattr(record, name) for name in kind.__struct_fields__))
    match record:
        case records.RequestRecord():
            schemas = tuple(tool["function"] for tool in record.tools)
            return events.ParametersChanged(record.model, schemas, record.params, record.api or CHAT)
        case records.ResultRecord():
            spent = Spent(record.turns, record.usage.usage)
            return events.Stopped(Stop(record.stop_reason), record.answer, spent, record.error)
        case records.LimitRecord():
            return events.LimitReached(Stop(record.stop_reason))
        case records.RerunRecord():
            return events.Rerun(record.call_id, record.same, record.content or "")
        case _:
            return _decoded_call(record)


def _decoded_call(record: Journalled) -> Event | None:
    """Decode a record of a sub-agent or of a model call."""
    match record:
        case records.AgentStartRecord():
            return events.ChildStarted(record.folder, record.prompt, record.queued, _key(record))
        case records.AgentEndRecord():
            value = events.KeptValue(record.value, record.sha256, record.sandbox, record.patch)
            effects = events.Effects(record.changed, record.commands)
            stop, usage = Stop(record.stop), record.usage.usage
            return events.ChildEnded(record.folder, stop, record.turns, usage, record.error, value, effects)
        case records.ReplayedRecord():
            effects = events.Effects(record.changed, record.commands)
            return events.Replayed(_key(record), record.recorded, record.prompt, effects)
        case records.ModelCallRecord():
            return decode_model_call(record)
        case _:
            return None


def _key(record: records.AgentStartRecord | records.ReplayedRecord | records.ModelCallRecord) -> CallKey:
    return CallKey(record.call, record.position)


def decode(journal: Iterable[Journalled]) -> Iterator[Event]:
    """Return the events of a whole journal, in order.

    Raises:
        SessionError: a record does not fit the records before it; the message has its line.
    """
    decoder = RecordDecoder()
    for line, record in enumerate(journal, 1):
        try:
            event = decoder.decode(record)
        except SessionError as error:
            raise SessionError(f"Line {line} of the journal: {error}") from None
        if event is not None:
            yield event


def decode_model_call(record: records.ModelCallRecord) -> events.ModelCalled:
    """Decode a model call. It does not depend on earlier records."""
    requested = events.ParametersChanged(record.model, (), record.params, record.api or CHAT)
    sent = tuple(map(_sent, record.messages))
    message = assistant(record.message, None, record.items)
    reply = Reply(message, record.usage.usage, record.finish_reason, record.token_data)
    return events.ModelCalled(requested, sent, reply, _key(record))


def _sent(message: Wire) -> Message:
    """Return a message of a request without tools."""
    match message["role"]:
        case "system":
            return System(message["content"])
        case "user":
            return User(message["content"])
        case _:
            return assistant(message)
