"""Converts events to records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import singledispatchmethod

from msgspec.structs import astuple

from rlm.core import events
from rlm.core.events import Event
from rlm.core.messages import (
    CHAT,
    Kind,
    ToolCall,
    ToolResult,
    User,
    items_of,
)
from rlm.sessions import records
from rlm.sessions.records import Content, JoinedText, Journalled, Record, TokenCounts

Clock = Callable[[], float]
"""Returns seconds."""

_PASSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # on Linux it also runs while the machine sleeps


def steady_clock() -> Clock:
    """Return a clock of seconds since 1970 that ignores later changes of the system's clock.

    It starts at the system's time. So the times in a session never jump.
    """
    began = time.time() - time.clock_gettime(_PASSED)
    return lambda: began + time.clock_gettime(_PASSED)


class RecordEncoder:
    """Converts the events of one agent, in order, to records. `earlier` are the records of its earlier runs."""

    def __init__(
        self, clock: Clock = time.time, timer: Clock = time.monotonic, earlier: Iterable[Journalled] = ()
    ) -> None:
        """`clock` dates the records. `timer` measures durations, because a clock may jump."""
        self._clock = clock
        self._timer = timer
        self._ids: list[int] = []
        """The record id of each message, by the message's number in the history."""
        self._next_id = 0
        self._asked: float | None = None
        self._call: tuple[ToolCall, float] | None = None
        for record in earlier:
            self._next_id = max(self._next_id, record.id + 1)
            if isinstance(record, records.MessageRecord):
                self._ids.append(record.id)

    def encode(self, event: Event) -> Record | None:
        """Return the record of `event`; None for an event that is not recorded."""
        kind = type(event)
        if kind in JOURNALLED_AS_IT_IS:
            return JOURNALLED_AS_IT_IS[kind](*self._next(), *astuple(event))
        if kind in _WATCHED_AS_IT_IS:
            return _WATCHED_AS_IT_IS[kind](self.now(), *astuple(event))
        record = self._record_of(event)
        if isinstance(record, records.MessageRecord):
            self._ids.append(record.id)
        return record

    def resumed(self, pid: int, forked_from: str = "") -> records.ResumeRecord:
        """Return the record with which a new run of the session begins."""
        return records.ResumeRecord(*self._next(), pid, forked_from)

    @property
    def running_call(self) -> str:
        """The id of the call that runs; empty between calls."""
        return self._call[0].id if self._call else ""

    def _next(self) -> tuple[int, float]:
        """Return the id and the time of a record that is journalled now."""
        self._next_id += 1
        return self._next_id - 1, self.now()

    def now(self) -> float:
        """Return the time of a record: seconds since 1970."""
        return round(self._clock(), 3)

    def _since(self, started: float | None) -> float | None:
        return None if started is None else round(self._timer() - started, 3)

    @singledispatchmethod
    def _record_of(self, _event: Event) -> Record | None:
        """Convert an event whose record has other fields than the event."""
        return None

    # ---- the conversation

    @_record_of.register(events.Said)
    def _said(self, said: events.Said) -> Record:
        message = said.message
        kind = _kind(message) if isinstance(message, User) else ""
        own, joined = _joined(message) if isinstance(message, User) else (None, ())
        return records.MessageRecord(
            *self._next(), message.wire(), kind=kind, content=own, joined=joined, anew=said.anew
        )

    @_record_of.register(events.Replied)
    def _replied(self, replied: events.Replied) -> Record:
        started, self._asked = self._asked, None
        reply = replied.reply
        return records.MessageRecord(
            *self._next(),
            reply.message.wire(),
            usage=TokenCounts.of(reply.usage),
            finish_reason=reply.finish,
            duration=self._since(started),
            aside=replied.aside,
            written=reply.message.written,
            items=reply.message.items,
            token_data=reply.token_data,
            request_id=reply.request_id,
        )

    @_record_of.register(events.ToolReturned)
    def _tool_returned(self, returned: events.ToolReturned) -> Record:
        result = returned.result
        started = self._call[1] if self._call and self._call[0] == result.call else None
        own, joined = _joined(result)
        return records.MessageRecord(
            *self._next(),
            result.wire(),
            tool=result.call.name,
            ok=result.ok,
            duration=self._since(started),
            exit_status=result.exit_status,
            content=own,
            joined=joined,
            anew=returned.anew,
        )

    @_record_of.register(events.Dropped)
    def _dropped(self, dropped: events.Dropped) -> Record:
        ids = tuple(self._ids[number] for number in dropped.numbers if number not in dropped.left)
        left = {self._ids[number]: form.wire() for number, form in zip(dropped.left, dropped.forms, strict=True)}
        summary = dropped.summary
        return records.DropRecord(
            *self._next(),
            ids,
            dropped.reason,
            summary=None if summary is None else summary.text,
            turns=None if summary is None else (summary.first, summary.last),
            left=left,
        )

    @_record_of.register(events.Adapted)
    def _adapted(self, adapted: events.Adapted) -> Record:
        changed = {self._ids[number]: message for number, message in adapted.changed}
        return records.AdaptRecord(
            *self._next(),
            tuple(map(str, adapted.adaptations)),
            {id: message.wire() for id, message in changed.items()},
            tuple(self._ids[number] for number in adapted.gone),
            {id: list(items) for id, message in changed.items() if (items := items_of(message))},
        )

    # ---- the run and its problems

    @_record_of.register(events.ParametersChanged)
    def _parameters_changed(self, changed: events.ParametersChanged) -> Record:
        tools = tuple({"type": "function", "function": schema} for schema in changed.tools)  # as in a request
        api = "" if changed.api == CHAT else changed.api
        return records.RequestRecord(*self._next(), changed.model, tools, changed.params, api)

    @_record_of.register(events.ModelCalled)
    def _model_called(self, called: events.ModelCalled) -> Record:
        requested, reply = called.requested, called.reply
        return records.ModelCallRecord(
            *self._next(),
            requested.model,
            requested.params,
            tuple(message.wire() for message in called.sent),
            reply.message.wire(),
            TokenCounts.of(reply.usage),
            reply.finish,
            api="" if requested.api == CHAT else requested.api,
            items=reply.message.items,
            token_data=reply.token_data,
            call=called.key.digest,
            position=called.key.position,
            request_id=reply.request_id,
        )

    @_record_of.register(events.ChildStarted)
    def _child_started(self, started: events.ChildStarted) -> Record:
        key = started.key
        return records.AgentStartRecord(
            *self._next(), started.folder, started.prompt, started.queued, key.digest, key.position
        )

    @_record_of.register(events.ChildEnded)
    def _child_ended(self, ended: events.ChildEnded) -> Record:
        tokens, value, effects = TokenCounts.of(ended.usage), ended.value, ended.effects
        return records.AgentEndRecord(
            *self._next(),
            ended.folder,
            str(ended.stop),
            ended.turns,
            tokens,
            ended.error,
            value.kind,
            value.sha256,
            value.sandbox,
            effects.files,
            effects.commands,
            value.patch,
        )

    @_record_of.register(events.Replayed)
    def _replayed(self, replayed: events.Replayed) -> Record:
        key, effects = replayed.key, replayed.effects
        return records.ReplayedRecord(
            *self._next(),
            key.digest,
            key.position,
            replayed.agent,
            replayed.prompt,
            effects.files,
            effects.commands,
        )

    @_record_of.register(events.Stopped)
    def _stopped(self, stopped: events.Stopped) -> Record:
        stop, spent = stopped.stop, stopped.spent
        tokens = TokenCounts.of(spent.usage)
        return records.ResultRecord(
            *self._next(), stop.status, str(stop), stopped.answer, spent.turns, tokens, stopped.error
        )

    @_record_of.register(events.LimitReached)
    def _limit_reached(self, reached: events.LimitReached) -> Record:
        return records.LimitRecord(*self._next(), str(reached.stop))

    @_record_of.register(events.Rerun)
    def _rerun(self, rerun: events.Rerun) -> Record:
        return records.RerunRecord(*self._next(), rerun.call_id, rerun.same, None if rerun.same else rerun.content)

    # ---- requests and calls, for observers

    @_record_of.register(events.RequestStarted)
    def _request_started(self, _started: events.RequestStarted) -> None:
        self._asked = self._timer()

    @_record_of.register(events.CallStarted)
    def _call_started(self, started: events.CallStarted) -> Record:
        call = started.call
        self._call = (call, self._timer())
        return records.CellStartRecord(self.now(), call.id, call.name, call.arguments)

    @_record_of.register(events.CallEnded)
    def _call_ended(self, ended: events.CallEnded) -> Record:
        started, self._call = self._call, None
        call, duration = ended.result.call, self._since(started[1] if started else None)
        return records.CellEndRecord(self.now(), call.id, call.name, ended.result.ok, duration)

    @_record_of.register(events.OutputReceived)
    def _output_received(self, received: events.OutputReceived) -> Record:
        return records.CellOutputRecord(self.now(), self.running_call, received.text)

    @_record_of.register(events.Displayed)
    def _displayed(self, shown: events.Displayed) -> Record:
        return records.DisplayRecord(self.now(), self.running_call, shown.picture, shown.rows, shown.columns)


JOURNALLED_AS_IT_IS: dict[type[Event], type[Journalled]] = {
    events.Answered: records.AnswerRecord,
    events.Retried: records.RetryRecord,
    events.Failed: records.ErrorRecord,
    events.KernelRestarted: records.KernelRecord,
    events.KernelResumed: records.KernelResumedRecord,
    events.Checkpointed: records.CheckpointRecord,
    events.SkillsCalled: records.SkillsRecord,
    events.UserCellRan: records.UserCellRecord,
}
_WATCHED_AS_IT_IS: dict[type[Event], Callable[..., Record]] = {
    events.Delta: records.DeltaRecord,
    events.Writing: records.WritingRecord,
    events.Queued: records.QueuedRecord,
    events.Throttled: records.ThrottledRecord,
    events.Waiting: records.WaitingRecord,
    events.UserCellStarted: records.UserCellStartRecord,
    events.UserOutputReceived: records.UserOutputRecord,
}
"""These events have the same fields as their records, in this order."""


def _kind(user: User) -> str:
    return "" if user.kind is Kind.TASK else str(user.kind)


def _joined(message: User | ToolResult) -> tuple[Content | None, tuple[JoinedText, ...]]:
    """Return the content of a message and the messages joined to it; None and () if nothing was joined."""
    joined = tuple(JoinedText(user.content, _kind(user)) for user in message.joined)
    return (message.content if joined else None), joined
