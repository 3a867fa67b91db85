"""Converts records to the updates of a session: the live ones of a run, and those of a stored session.

Pure, apart from the state of a stream. Calls of sub-agents are separate tool calls, whose ids begin with the agent's:
`sub-1a2b3c4d/call_7`. Clients without nesting show them in order; `_meta` names the agent and the call that started it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rlm.acp import content
from rlm.acp.content import ROOT, chunk, progress
from rlm.core.messages import Usage, Wire
from rlm.present.describe import describe
from rlm.sessions.records import (
    AgentEndRecord,
    AgentStartRecord,
    AnswerRecord,
    CellEndRecord,
    CellOutputRecord,
    CellStartRecord,
    DeltaRecord,
    DisplayRecord,
    MessageRecord,
    Record,
    ResultRecord,
    RetryRecord,
    WritingRecord,
)
from rlm.sessions.store import SessionTree
from rlm.sessions.transcript import TextItem, TranscriptCall, Turn, build
from rlm.text.clip import join

_META = "rlm"
_HALF = content.MOST // 2


@dataclass(slots=True)
class _ClippedOutput:
    """The head and tail of a call's output."""

    head: str = ""
    tail: str = ""
    missing: int = 0

    def add(self, text: str) -> None:
        room = _HALF - len(self.head)
        self.head += text[:room]
        self.tail += text[room:] if room < len(text) else ""
        self.missing += max(0, len(self.tail) - _HALF)
        self.tail = self.tail[-_HALF:]

    def __str__(self) -> str:
        return join(self.head, self.missing, self.tail) if self.missing else self.head + self.tail


@dataclass(slots=True)
class _RunningCall:
    id: str
    call: TranscriptCall
    output: _ClippedOutput = field(default_factory=_ClippedOutput)
    pictures: list[Wire] = field(default_factory=list)
    changed: bool = False


@dataclass(slots=True)
class _Message:
    """The part of the root's message that the client already has."""

    number: int = 0
    text: str = ""
    thoughts: str = ""
    aside: bool = False
    """Whether the message is a summary for a compaction, which the user does not see."""


class UpdateStream:
    """The updates of one session.

    Args:
        cwd: the base of the paths of edits.
        picture: returns the content block of a picture's path, or None if there is nothing to show.
        window: tokens of the model's context, 0 if they are not known; and what the session has cost.
    """

    def __init__(
        self,
        cwd: str,
        picture: Callable[[str], Wire | None],
        window: Callable[[], int],
        cost: Callable[[], float | None],
        prefix: str,
    ) -> None:
        self._cwd = cwd
        self._picture = picture
        self._window = window
        self._cost = cost
        self._prefix = prefix
        self._message = _Message()
        self._calls: dict[tuple[str, str], _RunningCall] = {}
        self._ids: dict[str, int] = {}
        self._answers: dict[str, str] = {}
        """The answers of sub-agents that are about to end, by their path."""

    def updates(self, record: Record) -> Iterator[Wire]:
        """Yield the updates of a record of any agent of the tree."""
        agent = record.agent or ROOT
        match record:
            case CellStartRecord():
                yield self._start(agent, record)
            case CellOutputRecord() | DisplayRecord():
                self._take_output(agent, record)
            case MessageRecord(role="tool", anew=False):
                yield from self._end(agent, record)
            case CellEndRecord():
                self._calls.pop((agent, record.call_id), None)
            case _:
                yield from self._of_agent(agent, record)

    def _of_agent(self, agent: str, record: Record) -> Iterator[Wire]:
        match record:
            case AgentStartRecord(folder=folder):
                child = f"{agent}/{folder}"
                yield content.started_agent(child, record.prompt) | self._meta(child)
            case AgentEndRecord(folder=folder):
                child = f"{agent}/{folder}"
                yield content.ended_agent(child, self._answers.pop(child, ""), record)
            case ResultRecord() if agent != ROOT:
                self._answers[agent] = record.answer
            case _ if agent == ROOT:
                yield from self._of_root(record)

    def flush(self) -> Iterator[Wire]:
        """The output of running calls since the last flush."""
        for running in self._calls.values():
            if running.changed:
                running.changed = False
                shown = [*content.asked(running.call, self._cwd), *content.output(str(running.output))]
                yield progress(running.id, status="in_progress", content=[*shown, *running.pictures])

    def running(self, tool: str, arguments: Wire) -> Wire:
        """The call that is about to run, for a permission request."""
        calls = [running for running in self._calls.values() if running.call.tool == tool]
        same = [running for running in calls if _fits(running.call, arguments)]
        running = next(reversed(same or calls), _RunningCall("", TranscriptCall("", tool, json.dumps(arguments))))
        return {
            "toolCallId": running.id,
            "title": content.call_title(running.call),
            "kind": content.kind_of(tool),
            "status": "pending",
            "rawInput": arguments,
            "content": content.asked(running.call, self._cwd),
        }

    # ---- messages of the root

    def _of_root(self, record: Record) -> Iterator[Wire]:
        match record:
            case DeltaRecord(text=text) if not self._message.aside:
                self._message.text += text
                yield self._chunk("agent_message_chunk", text)
            case WritingRecord(text=text) if text and not self._message.aside:
                self._message.thoughts += text
                yield self._chunk("agent_thought_chunk", text)
            case MessageRecord(role="user", kind="ask", anew=False):
                self._message.aside = True
            case MessageRecord(role="assistant"):
                yield from self._end_message(record)
            case AnswerRecord(answer=answer):
                yield self._chunk("agent_message_chunk", answer)
                self._next_message()
            case RetryRecord():
                yield from self._notice(record)
                self._next_message()  # the retry repeats the text that has arrived
            case _:
                yield from self._notice(record)

    def _notice(self, record: Record) -> Iterator[Wire]:
        """A notice of rlm, sent as a thought: the protocol has no messages of the agent's program."""
        said = describe(record)
        if said is not None and not said.minor:
            yield chunk("agent_thought_chunk", f"[{said}]\n", f"{self._prefix}-notice")

    def _end_message(self, record: MessageRecord) -> Iterator[Wire]:
        """Send the part of the message that was not streamed."""
        if not record.aside:
            message, shown = record.message, self._message
            thoughts = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
            text = _text(message.get("content")) or _text(message.get("refusal"))
            if rest := _rest(thoughts, shown.thoughts):
                yield self._chunk("agent_thought_chunk", rest)
            if rest := _rest(text, shown.text):
                yield self._chunk("agent_message_chunk", rest)
            if record.usage is not None:
                yield self._usage(record.usage.usage)
        self._next_message()

    def _usage(self, usage: Usage) -> Wire:
        used, cost = usage.prompt + usage.completion, self._cost()
        more = {} if cost is None else {"cost": {"amount": cost, "currency": "USD"}}
        return {"sessionUpdate": "usage_update", "used": used, "size": self._window()} | more

    def _chunk(self, kind: str, text: str) -> Wire:
        return chunk(kind, text, f"{self._prefix}-{self._message.number}")

    def _next_message(self) -> None:
        self._message = _Message(self._message.number + 1)

    # ---- calls

    def _start(self, agent: str, record: CellStartRecord) -> Wire:
        call = TranscriptCall(record.call_id, record.tool, record.arguments)
        id = call.id if agent == ROOT else f"{content.agent_id(agent)}/{call.id}"
        self._calls[agent, call.id] = running = _RunningCall(_unique(id, self._ids), call)
        return content.started_call(running.id, call, self._cwd) | self._meta(agent)

    def _take_output(self, agent: str, record: CellOutputRecord | DisplayRecord) -> None:
        running = self._calls.get((agent, record.call_id))
        if running is None:
            return
        running.changed = True
        if isinstance(record, CellOutputRecord):
            running.output.add(record.text)
        elif record.picture and (block := self._picture(record.picture)):
            running.pictures.append({"type": "content", "content": block})

    def _end(self, agent: str, record: MessageRecord) -> Iterator[Wire]:
        running = self._calls.get((agent, str(record.message["tool_call_id"])))
        if running is None:
            return  # the call never started
        running.changed = False
        result = record.message["content"] if record.content is None else record.content
        ok, pictures = bool(record.ok), running.pictures
        yield content.ended_call(running.id, running.call, _text(result), self._cwd, ok=ok, pictures=pictures)

    def _meta(self, agent: str) -> Wire:
        """The name of the agent, and the call that started it."""
        if agent == ROOT:
            return {}
        parent = agent.rpartition("/")[0]
        calls = [running.id for (of, _), running in self._calls.items() if of == parent]
        return {"_meta": {_META: {"agent": agent, "parentToolCallId": calls[-1] if calls else None}}}


def _unique(id: str, ids: dict[str, int]) -> str:
    """Return an id that is not used yet: some models restart the numbers of their calls in each message."""
    ids[id] = ids.get(id, 0) + 1
    return id if ids[id] == 1 else f"{id}#{ids[id]}"


def _fits(call: TranscriptCall, arguments: Wire) -> bool:
    return all(call.values.get(name) == value for name, value in arguments.items())


def _rest(whole: str, shown: str) -> str:
    return whole[len(shown) :] if whole.startswith(shown) else "" if shown else whole


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


# ---- a stored session


def history_updates(tree: SessionTree) -> Iterator[Wire]:
    """The conversation of a stored session: of the root, its calls, and its sub-agents with their answers."""
    names: dict[str, int] = {}
    for item in build(tree.records()):
        match item:
            case TextItem(kind="task"):
                yield chunk("user_message_chunk", item.text, f"record-{item.id}")
            case Turn() if item.number:
                yield from _past_turn(item, tree, names)


def _past_turn(turn: Turn, tree: SessionTree, names: dict[str, int]) -> Iterator[Wire]:
    if turn.reasoning.strip():
        yield chunk("agent_thought_chunk", turn.reasoning, f"record-{turn.id}")
    if turn.text.strip():
        yield chunk("agent_message_chunk", turn.text, f"record-{turn.id}")
    for call in turn.calls:
        id, cwd = _unique(call.id, names), tree.meta.cwd
        ended = content.ended_call(id, call, call.content, cwd, ok=call.ok is True)
        yield content.started_call(id, call, cwd) | ended | {"sessionUpdate": "tool_call"}
        yield from _past_agents(call, tree)


def _past_agents(call: TranscriptCall, tree: SessionTree) -> Iterator[Wire]:
    for folder in call.children:
        child = tree.child(folder)
        if child is None:
            continue
        task = next((i.text for i in build(child.records()) if isinstance(i, TextItem) and i.kind == "task"), "")
        status = "completed" if child.meta.status == "done" else "failed"
        shown = content.started_agent(f"{ROOT}/{folder}", task) | {"status": status}
        answer = child.meta.answer_preview or child.meta.error or child.meta.status
        shown["content"] = [*shown["content"], content.text_content(answer)]
        yield shown
