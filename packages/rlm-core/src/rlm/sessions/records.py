"""Events to records and back. A record is one line of the journal, and one line of `--json`.

docs/sessions.md specifies the records, and docs/sessions.schema.json says it to machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from rlm.core.adaptation import Adaptation, short_id
from rlm.core.budget import Spent, Stop
from rlm.core.events import (
    Adapted,
    CallEnded,
    CallStarted,
    Checkpointed,
    ChildEnded,
    ChildStarted,
    Delta,
    Dropped,
    Event,
    Failed,
    KernelRestarted,
    OutputReceived,
    ParametersChanged,
    Replied,
    RequestStarted,
    Rerun,
    Retried,
    Said,
    SkillsCalled,
    Stopped,
    ToolReturned,
    Waiting,
)
from rlm.core.history import Summary
from rlm.core.messages import (
    CHAT,
    Kind,
    Message,
    Reply,
    System,
    ToolCall,
    ToolResult,
    Usage,
    User,
    assistant,
    items_of,
    joined_to,
)
from rlm.errors import SessionError

Record = dict[str, Any]
"""A JSON object. `type` says what it is; those with an `id` are journalled."""

Clock = Callable[[], float]
"""Seconds."""


def usage_wire(usage: Usage) -> Record:
    """Usage as records and meta.json spell it; `estimated` only where it is."""
    counts = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
    }
    return counts | ({"estimated": True} if usage.estimated else {})


def usage_read(wire: Record) -> Usage:
    return Usage(
        wire.get("prompt_tokens", 0),
        wire.get("completion_tokens", 0),
        wire.get("cached_tokens", 0),
        wire.get("reasoning_tokens", 0),
        wire.get("estimated", False),
    )


def message_ids(records: Iterable[Record]) -> list[int]:
    """The record id of each message, by the message's number in the history."""
    return [record["id"] for record in records if record["type"] == "message"]


class RecordEncoder:
    """The events of one agent, in order, to records. Those of an earlier run of it are given as `records`."""

    def __init__(self, clock: Clock = time.time, timer: Clock = time.monotonic, records: Iterable[Record] = ()) -> None:
        """`clock` dates the records. `timer` measures durations: a clock may jump."""
        earlier = list(records)
        self._clock = clock
        self._timer = timer
        self._ids = message_ids(earlier)
        self._next = max((record["id"] for record in earlier), default=-1) + 1
        self._asked: float | None = None
        self._call: tuple[ToolCall, float] | None = None

    def encode(self, event: Event) -> Record | None:
        """The record of `event`; None for what leaves no trace."""
        body = self._conversation(event) or _noted(event)
        if body is not None:
            return self.journalled(**body)
        watched = self._watched(event)
        return watched and {"type": watched.pop("type"), "ts": self._now()} | watched

    def journalled(self, type: str, **body: Any) -> Record:
        """A record of its own kind, with the next id."""
        record = {"type": type, "id": self._next, "ts": self._now()} | body
        if type == "message":
            self._ids.append(self._next)
        self._next += 1
        return record

    def _now(self) -> float:
        return round(self._clock(), 3)

    def _conversation(self, event: Event) -> Record | None:
        match event:
            case Said(message, anew):
                body = {"type": "message", "message": message.wire()}
                return body | _kind(message) | _joined(message) | _if_any(anew=anew)
            case Replied(reply, aside):
                return self._replied(reply, aside)
            case ToolReturned(result, anew):
                return self._answered(result) | _joined(result) | _if_any(anew=anew)
            case Dropped():
                return self._dropped(event)
            case Adapted():
                return self._adapted(event)
            case _:
                return None

    def _dropped(self, event: Dropped) -> Record:
        ids = [self._ids[number] for number in event.numbers if number not in event.left]
        left = {str(self._ids[number]): form.wire() for number, form in zip(event.left, event.forms, strict=True)}
        return {"type": "drop", "ids": ids, "reason": event.reason} | _summary(event.summary) | _if_any(left=left)

    def _adapted(self, event: Adapted) -> Record:
        changed = {str(self._ids[number]): message for number, message in event.changed}
        messages = {id: message.wire() for id, message in changed.items()}
        items = {id: list(found) for id, message in changed.items() if (found := items_of(message))}
        gone = [self._ids[number] for number in event.gone]
        return {
            "type": "adapt",
            "adaptations": [*map(str, event.adaptations)],
            "messages": messages,
            "gone": gone,
        } | _if_any(items=items)

    def _replied(self, reply: Reply, aside: bool) -> Record:
        body = {
            "type": "message",
            "message": reply.message.wire(),
            "usage": usage_wire(reply.usage),
            "finish_reason": reply.finish,
        }
        started, self._asked = self._asked, None
        return (
            body
            | self._duration(started)
            | _if_any(aside=aside, written=reply.message.written, items=list(reply.message.items))
        )

    def _answered(self, result: ToolResult) -> Record:
        body = {"type": "message", "message": result.wire(), "tool": result.call.name, "ok": result.ok}
        started = self._call[1] if self._call and self._call[0] == result.call else None
        return body | self._duration(started)

    def _duration(self, started: float | None) -> Record:
        return {} if started is None else {"duration": round(self._timer() - started, 3)}

    def _watched(self, event: Event) -> Record | None:
        match event:
            case RequestStarted():
                self._asked = self._timer()
                return None
            case Delta() | Waiting():
                return _passing(event)
            case CallStarted(call):
                self._call = (call, self._timer())
                return {"type": "cell_start", "call_id": call.id, "tool": call.name, "arguments": call.arguments}
            case OutputReceived(text):
                return {"type": "cell_output", "call_id": self._call[0].id if self._call else "", "text": text}
            case CallEnded(result):
                return self._call_ended(result)
            case _:
                return None

    def _call_ended(self, result: ToolResult) -> Record:
        call = result.call
        body: Record = {"type": "cell_end", "call_id": call.id, "tool": call.name, "ok": result.ok}
        started, self._call = self._call, None
        return body | self._duration(started[1] if started else None)


def _passing(event: Delta | Waiting) -> Record:
    if isinstance(event, Delta):
        return {"type": "delta", "text": event.text}
    return {"type": "waiting", "reason": event.reason, "left": event.left}


def _kind(message: System | User) -> Record:
    return {"kind": str(message.kind)} if isinstance(message, User) and message.kind is not Kind.TASK else {}


def _joined(message: Message) -> Record:
    """User messages that stand within another message: their text, and who wrote them."""
    joined = joined_to(message)
    own = {"content": message.content} if joined and isinstance(message, User | ToolResult) else {}
    return own | {"joined": [{"content": user.content} | _kind(user) for user in joined]} if joined else {}


def _joined_read(record: Record) -> tuple[User, ...]:
    return tuple(User(user["content"], Kind(user.get("kind", Kind.TASK))) for user in record.get("joined", ()))


def _if_any(**fields: object) -> Record:
    """Those that say something."""
    return {name: value for name, value in fields.items() if value}


def _summary(summary: Summary | None) -> Record:
    return {} if summary is None else {"summary": summary.text, "turns": [summary.first, summary.last]}


def _noted(event: Event) -> Record | None:
    match event:
        case ParametersChanged(model, tools, params, api):
            wrapped = [{"type": "function", "function": schema} for schema in tools]  # as a request carries them
            record = {"type": "request", "model": model, "tools": wrapped, "params": params}
            return record | ({"api": api} if api != CHAT else {})
        case Retried() | Failed() | KernelRestarted():
            return _trouble(event)
        case Rerun() | Checkpointed() | SkillsCalled():
            return _of_kernel(event)
        case ChildStarted() | ChildEnded():
            return _child(event)
        case Stopped():
            return _stopped(event)
        case _:
            return None


def _trouble(event: Retried | Failed | KernelRestarted) -> Record:
    match event:
        case Retried(reason, attempt, wait):
            return {"type": "retry", "reason": reason, "attempt": attempt, "wait": wait}
        case Failed(reason):
            return {"type": "error", "reason": reason}
        case KernelRestarted(why, lost):
            return {"type": "kernel", "why": why, "lost": list(lost)}


def _of_kernel(event: Rerun | Checkpointed | SkillsCalled) -> Record:
    match event:
        case Rerun(call, same, content):
            return {"type": "rerun", "call_id": call, "same": same} | ({} if same else {"content": content})
        case Checkpointed(sha256, sandbox):
            return {"type": "checkpoint", "sha256": sha256, "sandbox": sandbox}
        case SkillsCalled(python, shell):
            return {"type": "skills", "python": python, "shell": shell}


def _child(event: ChildStarted | ChildEnded) -> Record:
    if isinstance(event, ChildStarted):
        return {"type": "agent_start", "folder": event.folder, "prompt": event.prompt}
    return {
        "type": "agent_end",
        "folder": event.folder,
        "stop": str(event.stop),
        "turns": event.turns,
        "usage": usage_wire(event.usage),
    } | ({"error": event.error} if event.error else {})


def _stopped(event: Stopped) -> Record:
    return {
        "type": "result",
        "status": event.stop.status,
        "stop_reason": str(event.stop),
        "answer": event.answer,
        "turns": event.spent.turns,
        "usage": usage_wire(event.spent.usage),
    } | ({"error": event.error} if event.error else {})


class RecordDecoder:
    """Records back to events. The law: `replay` of them equals `replay` of the events that were encoded."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._calls: dict[str, ToolCall] = {}

    def decode(self, record: Record) -> Event | None:
        """The event of a record; None for a type that is not ours.

        Raises:
            SessionError: the record lacks what its type needs.
        """
        try:
            return self._message(record) if record["type"] == "message" else self._other(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SessionError(f"Record {record.get('id')} of the journal cannot be understood: {error!r}.") from None

    def _message(self, record: Record) -> Event:
        self._numbers[record["id"]] = len(self._numbers)
        wire = record["message"]
        match wire["role"]:
            case "system":
                return Said(System(wire["content"]))
            case "user":
                content, kind = record.get("content", wire["content"]), Kind(record.get("kind", Kind.TASK))
                return Said(User(content, kind, _joined_read(record)), record.get("anew", False))
            case "assistant":
                return self._replied(record)
            case _:
                call, content = self._calls[wire["tool_call_id"]], record.get("content", wire["content"])
                result = ToolResult(call, content, record["ok"], _joined_read(record))
                return ToolReturned(result, record.get("anew", False))

    def _replied(self, record: Record) -> Replied:
        message = assistant(record["message"], record.get("written"), record.get("items", ()))
        aside = record.get("aside", False)
        if not aside:  # what an aside asks for is never answered, and its ids may be those of a turn
            self._calls.update((call.id, call) for call in message.calls)
        return Replied(Reply(message, usage_read(record["usage"]), record["finish_reason"]), aside)

    def _adapted_read(self, record: Record) -> Adapted:
        adaptations = tuple(map(Adaptation, record["adaptations"]))
        if Adaptation.SHORT_IDS in adaptations:
            renamed = [replace(call, id=short_id(call.id)) for call in self._calls.values()]
            self._calls.update((call.id, call) for call in renamed)
        return Adapted(adaptations)

    def _other(self, record: Record) -> Event | None:
        match record["type"]:
            case "drop":
                left = tuple(self._numbers[int(id)] for id in record.get("left", ()))
                numbers = (*(self._numbers[id] for id in record["ids"]), *left)
                return Dropped(numbers, record["reason"], _summary_read(record), left)
            case "adapt":
                return self._adapted_read(record)
            case "request":
                schemas = tuple(tool["function"] for tool in record["tools"])
                return ParametersChanged(record["model"], schemas, record["params"], record.get("api", CHAT))
            case "agent_start" | "agent_end":
                return _child_read(record)
            case "result":
                spent = Spent(record["turns"], usage_read(record["usage"]))
                return Stopped(Stop(record["stop_reason"]), record["answer"], spent, record.get("error", ""))
            case _:
                return _trouble_read(record)


def _summary_read(record: Record) -> Summary | None:
    if "summary" not in record:
        return None
    first, last = record["turns"]
    return Summary(first, last, record["summary"])


def _child_read(record: Record) -> ChildStarted | ChildEnded:
    if record["type"] == "agent_start":
        return ChildStarted(record["folder"], record["prompt"])
    stop, usage = Stop(record["stop"]), usage_read(record["usage"])
    return ChildEnded(record["folder"], stop, record["turns"], usage, record.get("error", ""))


def _trouble_read(record: Record) -> Event | None:
    match record["type"]:
        case "retry":
            return Retried(record["reason"], record["attempt"], record["wait"])
        case "error":
            return Failed(record["reason"])
        case "kernel":
            return KernelRestarted(record["why"], tuple(record["lost"]))
        case _:
            return _of_kernel_read(record)


def _of_kernel_read(record: Record) -> Event | None:
    match record["type"]:
        case "rerun":
            return Rerun(record["call_id"], record["same"], record.get("content", ""))
        case "checkpoint":
            return Checkpointed(record["sha256"], record["sandbox"])
        case "skills":
            return SkillsCalled(dict(record["python"]), dict(record["shell"]))
        case _:
            return None


def decode(records: Iterable[Record]) -> Iterator[Event]:
    """The events of a whole journal, in order.

    Raises:
        SessionError: a record cannot follow those before it; with its line.
    """
    decoder = RecordDecoder()
    for line, record in enumerate(records, 1):
        try:
            event = decoder.decode(record)
        except SessionError as error:
            raise SessionError(f"Line {line} of the journal: {error}") from None
        if event is not None:
            yield event
