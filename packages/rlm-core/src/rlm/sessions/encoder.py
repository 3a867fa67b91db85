"""Events to records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rlm.core import events
from rlm.core.events import Event
from rlm.core.messages import (
    CHAT,
    Kind,
    Message,
    Reply,
    ToolCall,
    ToolResult,
    User,
    items_of,
    joined_to,
)
from rlm.sessions import records
from rlm.sessions.records import Content, JoinedText, Journalled, Record, TokenCounts

Clock = Callable[[], float]
"""Seconds."""

_PASSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps, on Linux


def steady() -> Clock:
    """Seconds since 1970: by the system's clock as it stands now, and by what passes from here on.

    Somebody may set the system's clock; the times in a session go on as time does.
    """
    began = time.time() - time.clock_gettime(_PASSED)
    return lambda: began + time.clock_gettime(_PASSED)


class RecordEncoder:
    """The events of one agent, in order, to records. Those of an earlier run of it are given as `earlier`."""

    def __init__(
        self, clock: Clock = time.time, timer: Clock = time.monotonic, earlier: Iterable[Journalled] = ()
    ) -> None:
        """`clock` dates the records. `timer` measures durations: a clock may jump."""
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
        """The record of `event`; None for what leaves no trace."""
        encoders = (self._conversation, self._of_run, self._trouble, self._of_cells, self._of_kernel, self._watched)
        return next((record for encode in encoders if (record := encode(event)) is not None), None)

    def resumed(self, pid: int, forked_from: str = "") -> records.ResumeRecord:
        return records.ResumeRecord(*self._next(), pid, forked_from)

    @property
    def running_call(self) -> str:
        """The id of the call that runs; empty between calls."""
        return self._call[0].id if self._call else ""

    def _next(self) -> tuple[int, float]:
        """The id and the time of a record that is journalled now."""
        self._next_id += 1
        return self._next_id - 1, self._now()

    def _next_message(self) -> tuple[int, float]:
        self._ids.append(self._next_id)
        return self._next()

    def _now(self) -> float:
        return round(self._clock(), 3)

    def _conversation(self, event: Event) -> Record | None:
        match event:
            case events.Said(message, anew):
                kind = _kind(message) if isinstance(message, User) else ""
                own, joined = _joined(message)
                return records.MessageRecord(
                    *self._next_message(), message.wire(), kind=kind, content=own, joined=joined, anew=anew
                )
            case events.Replied(reply, aside):
                return self._replied(reply, aside)
            case events.ToolReturned(result, anew):
                return self._answered(result, anew)
            case events.Dropped():
                return self._dropped(event)
            case events.Adapted():
                return self._adapted(event)
            case _:
                return None

    def _dropped(self, event: events.Dropped) -> records.DropRecord:
        ids = tuple(self._ids[number] for number in event.numbers if number not in event.left)
        left = {self._ids[number]: form.wire() for number, form in zip(event.left, event.forms, strict=True)}
        summary = event.summary
        return records.DropRecord(
            *self._next(),
            ids,
            event.reason,
            summary=None if summary is None else summary.text,
            turns=None if summary is None else (summary.first, summary.last),
            left=left,
        )

    def _adapted(self, event: events.Adapted) -> records.AdaptRecord:
        changed = {self._ids[number]: message for number, message in event.changed}
        return records.AdaptRecord(
            *self._next(),
            tuple(map(str, event.adaptations)),
            {id: message.wire() for id, message in changed.items()},
            tuple(self._ids[number] for number in event.gone),
            {id: list(items) for id, message in changed.items() if (items := items_of(message))},
        )

    def _replied(self, reply: Reply, aside: bool) -> records.MessageRecord:
        started, self._asked = self._asked, None
        return records.MessageRecord(
            *self._next_message(),
            reply.message.wire(),
            usage=TokenCounts.of(reply.usage),
            finish_reason=reply.finish,
            duration=self._since(started),
            aside=aside,
            written=reply.message.written,
            items=reply.message.items,
            token_data=reply.token_data,
        )

    def _answered(self, result: ToolResult, anew: bool) -> records.MessageRecord:
        started = self._call[1] if self._call and self._call[0] == result.call else None
        own, joined = _joined(result)
        return records.MessageRecord(
            *self._next_message(),
            result.wire(),
            tool=result.call.name,
            ok=result.ok,
            duration=self._since(started),
            content=own,
            joined=joined,
            anew=anew,
        )

    def _since(self, started: float | None) -> float | None:
        return None if started is None else round(self._timer() - started, 3)

    def _of_run(self, event: Event) -> Record | None:
        match event:
            case events.ParametersChanged(model, tools, params, api):
                wrapped = tuple({"type": "function", "function": schema} for schema in tools)  # as a request has them
                return records.RequestRecord(*self._next(), model, wrapped, params, "" if api == CHAT else api)
            case events.ChildStarted(folder, prompt, queued):
                return records.AgentStartRecord(*self._next(), folder, prompt, queued)
            case events.ChildEnded(folder, stop, turns, usage, error):
                return records.AgentEndRecord(*self._next(), folder, str(stop), turns, TokenCounts.of(usage), error)
            case events.Stopped(stop, answer, spent, error):
                tokens = TokenCounts.of(spent.usage)
                return records.ResultRecord(*self._next(), stop.status, str(stop), answer, spent.turns, tokens, error)
            case _:
                return None

    def _model_called(self, event: events.ModelCalled) -> records.ModelCallRecord:
        requested, reply = event.requested, event.reply
        return records.ModelCallRecord(
            *self._next(),
            requested.model,
            requested.params,
            tuple(message.wire() for message in event.sent),
            reply.message.wire(),
            TokenCounts.of(reply.usage),
            reply.finish,
            api="" if requested.api == CHAT else requested.api,
            items=reply.message.items,
            token_data=reply.token_data,
        )

    def _trouble(self, event: Event) -> Record | None:
        match event:
            case events.Retried(reason, attempt, wait):
                return records.RetryRecord(*self._next(), reason, attempt, wait)
            case events.Failed(reason):
                return records.ErrorRecord(*self._next(), reason)
            case events.KernelRestarted(why, lost):
                return records.KernelRecord(*self._next(), why, lost)
            case _:
                return None

    def _of_cells(self, event: Event) -> Record | None:
        match event:
            case events.ModelCalled():
                return self._model_called(event)
            case events.Answered(answer):
                return records.AnswerRecord(*self._next(), answer)
            case _:
                return None

    def _of_kernel(self, event: Event) -> Record | None:
        match event:
            case events.Rerun(call, same, content):
                return records.RerunRecord(*self._next(), call, same, None if same else content)
            case events.KernelResumed(gone, restored, rerun, differing):
                return records.KernelResumedRecord(*self._next(), gone, restored, rerun, differing)
            case events.Checkpointed(sha256, sandbox):
                return records.CheckpointRecord(*self._next(), sha256, sandbox)
            case events.SkillsCalled(python, shell):
                return records.SkillsRecord(*self._next(), python, shell)
            case events.UserCellRan(code, content, ok, told):
                return records.UserCellRecord(*self._next(), code, content, ok, told)
            case _:
                return None

    def _watched(self, event: Event) -> Record | None:
        match event:
            case events.RequestStarted():
                self._asked = self._timer()
            case events.Delta(text):
                return records.DeltaRecord(self._now(), text)
            case events.Writing(what, characters, lines):
                return records.WritingRecord(self._now(), what, characters, lines)
            case events.Queued(agents):
                return records.QueuedRecord(self._now(), agents)
            case events.Waiting(reason, left):
                return records.WaitingRecord(self._now(), reason, left)
            case _:
                return self._watched_cell(event)
        return None

    def _watched_cell(self, event: Event) -> Record | None:
        match event:
            case events.UserCellStarted(code):
                return records.UserCellStartRecord(self._now(), code)
            case events.UserOutputReceived(text):
                return records.UserOutputRecord(self._now(), text)
            case events.CallStarted(call):
                self._call = (call, self._timer())
                return records.CellStartRecord(self._now(), call.id, call.name, call.arguments)
            case events.CallEnded(result):
                started, self._call = self._call, None
                call, duration = result.call, self._since(started[1] if started else None)
                return records.CellEndRecord(self._now(), call.id, call.name, result.ok, duration)
            case _:
                return self._watched_output(event)

    def _watched_output(self, event: Event) -> Record | None:
        match event:
            case events.OutputReceived(text):
                return records.CellOutputRecord(self._now(), self.running_call, text)
            case events.Displayed(picture, rows, columns):
                return records.DisplayRecord(self._now(), self.running_call, picture, rows, columns)
            case _:
                return None


def _kind(user: User) -> str:
    return "" if user.kind is Kind.TASK else str(user.kind)


def _joined(message: Message) -> tuple[Content | None, tuple[JoinedText, ...]]:
    """What a message says itself and what was joined to it; neither, where nothing was."""
    joined = tuple(JoinedText(user.content, _kind(user)) for user in joined_to(message))
    return (message.content if joined and isinstance(message, User | ToolResult) else None), joined
