"""Conversations as events: a Hypothesis strategy for any valid one, and short functions to write one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from rlm.core import events
from rlm.core.budget import Spent, Stop
from rlm.core.events import Event
from rlm.core.history import Summary
from rlm.core.messages import (
    Assistant,
    Kind,
    Message,
    Reply,
    System,
    ToolCall,
    ToolResult,
    Usage,
    User,
    Wire,
    assistant,
)
from rlm.core.state import ConversationState
from rlm.sessions import Session
from rlm.sessions.encoder import RecordEncoder
from rlm.sessions.lines import line_of
from rlm.sessions.records import Journalled
from rlm.sessions.signing_key import SigningKey

KEY = SigningKey(b"the key of the tests, 32 bytes..")
"""Signs the sessions of the tests."""

# ---- any valid conversation

texts = st.text('ab \n\t\x00\x1b"\\{é☃😀\u2028\x85\ud800', max_size=8)  # characters that may break a line of JSON
ids = st.sampled_from(["a", "b", "call_1", "call_2"])  # providers repeat them between turns
usages = st.builds(Usage, *[st.integers(0, 9_999)] * 4, st.booleans())
parts = st.lists(st.one_of(st.builds(lambda t: {"type": "text", "text": t}, texts)), min_size=1, max_size=2)
extra = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts | st.lists(texts), max_size=2)


@st.composite
def messages(draw: st.DrawFn) -> Assistant:
    calls = [
        {"id": id, "type": "function", "function": {"name": draw(texts), "arguments": draw(texts)}}
        for id in draw(st.lists(ids, max_size=3, unique=True))
    ]
    wire: Wire = draw(extra) | {"role": "assistant", "content": draw(st.none() | texts)}
    return assistant(wire | ({"tool_calls": calls} if calls else {}))


replies = st.builds(Reply, messages(), usages, st.sampled_from(["stop", "length", "tool_calls"]))
said = st.one_of(
    st.builds(events.Said, st.builds(System, texts)),
    st.builds(events.Said, st.builds(User, texts | parts, st.sampled_from(Kind))),
)
asked = st.builds(events.ParametersChanged, texts, st.just(()), extra)
keys = st.builds(events.CallKey, st.just("0" * 32), st.integers(0, 9))
kept = st.builds(events.KeptValue, st.sampled_from(["", "text", "json", "pickle"]))
effects = st.builds(events.Effects, st.lists(texts, max_size=2).map(tuple), st.booleans())
noted = st.one_of(
    st.builds(events.ParametersChanged, texts, st.just(({"name": "f"},)), extra),
    st.builds(events.Retried, texts, st.integers(1, 9), st.floats(0, 60)),
    st.builds(events.Failed, texts),
    st.builds(events.KernelRestarted, texts, st.lists(texts, max_size=2).map(tuple)),
    st.builds(events.SkillsCalled, *[st.dictionaries(st.sampled_from(["say", "web"]), st.integers(1, 9))] * 2),
    st.builds(events.UserCellRan, texts, texts, st.booleans(), st.booleans()),
    st.builds(events.UserCellStarted, texts),
    st.builds(events.UserOutputReceived, texts),
    st.builds(events.Checkpointed, st.just("0" * 64), st.sampled_from(["off", "bwrap"])),
    st.builds(events.Answered, texts),
    st.builds(events.ModelCalled, asked, st.tuples(st.builds(User, texts)), replies, keys),
    st.builds(events.Rerun, texts, st.booleans(), texts),
    st.builds(events.ChildStarted, st.just("sub-12345678"), texts, st.floats(0, 9), keys),
    st.builds(
        events.ChildEnded,
        st.just("sub-12345678"),
        st.sampled_from(Stop),
        st.integers(0, 9),
        usages,
        texts,
        kept,
        effects,
    ),
    st.builds(events.Replayed, keys, st.sampled_from(["", "root/sub-12345678"]), texts, effects),
    st.builds(events.Stopped, st.sampled_from(Stop), texts, st.builds(Spent, st.integers(0, 9), usages), texts),
    st.builds(events.Delta, texts),
    st.builds(events.Waiting, texts, st.floats(0, 60)),
    st.builds(events.OutputReceived, texts),
)


def _turn(reply: Reply, aside: bool) -> list[Event]:
    return [events.RequestStarted(aside), events.Replied(reply, aside)]


turns = st.builds(_turn, replies, st.booleans())
single: st.SearchStrategy[Event] = st.one_of(said, noted)
outcomes = st.tuples(texts, st.booleans(), st.integers(-64, 255))
chosen = st.lists(st.integers(0, 30), max_size=5, unique=True)
summaries = st.none() | st.builds(Summary, st.integers(1, 9), st.integers(1, 9), texts)
steps = st.sampled_from(["say", "reply", "answer", "answer", "drop"])


@st.composite
def conversations(draw: st.DrawFn) -> list[Event]:
    """Draw events in an order that an agent could have emitted."""
    sequence: list[Event] = []
    state = ConversationState()
    for step in draw(st.lists(steps, max_size=20)):
        new = _next(draw, step, state)
        sequence.extend(new)
        for event in new:
            state = state.after(event)
    return sequence


def _next(draw: st.DrawFn, step: str, state: ConversationState) -> list[Event]:
    open_calls = state.history.unanswered()
    if step == "reply":
        return draw(turns)
    if step == "answer" and open_calls:
        return answer(open_calls[0], *draw(outcomes))
    if step == "drop":
        entries = state.history.entries
        numbers = tuple(entries[place].number for place in draw(chosen) if place < len(entries))
        return [events.Dropped(numbers, draw(texts), draw(summaries))]
    return [draw(single)]


# ---- parts of a specific conversation


def answer(call: ToolCall, content: str, ok: bool = True, exit_status: int = 0) -> list[Event]:
    """The events of a call that runs and gets a result."""
    result = ToolResult(call, content, ok, exit_status=exit_status)
    return [events.CallStarted(call), events.ToolReturned(result), events.CallEnded(result)]


_numbers = itertools.count(1)


def cell(code: str, tool: str = "ipython") -> Wire:
    """A tool call as the provider sends it."""
    arguments = json.dumps({"command" if tool == "bash" else "code": code})
    return {"id": f"call_{next(_numbers)}", "type": "function", "function": {"name": tool, "arguments": arguments}}


def reply(text: str | None, *calls: Wire, prompt: int = 1_000, completion: int = 50, **fields: Any) -> Reply:
    wire: Wire = {"role": "assistant", "content": text} | fields
    finish = "tool_calls" if calls else "stop"
    usage = Usage(prompt, completion, cached=prompt // 2)
    return Reply(assistant(wire | ({"tool_calls": list(calls)} if calls else {})), usage, finish)


TOOLS = ({"name": "ipython", "description": "Run a cell.", "parameters": {"type": "object", "properties": {}}},)


def opening(task: str) -> list[Event]:
    return [
        events.Said(System("You are rlm.")),
        events.Said(User(task)),
        events.ParametersChanged("test-model", TOOLS, {"temperature": 0}),
    ]


def turn(text: str | None, *runs: tuple[Wire, str], ok: bool = True, exit_status: int = 0) -> list[Event]:
    """The events of a reply with calls, and their results."""
    sequence: list[Event] = [
        events.RequestStarted(),
        events.Replied(received := reply(text, *(wire for wire, _ in runs))),
    ]
    for call, (_, content) in zip(received.message.calls, runs, strict=True):
        sequence += answer(call, content, ok, exit_status)
    return sequence


def ending(text: str, turns: int = 1) -> list[Event]:
    return [
        events.RequestStarted(),
        events.Replied(reply(text)),
        events.Stopped(Stop.DONE, text, Spent(turns, Usage(1_000, 50))),
    ]


def encoded(sequence: Iterable[Event]) -> list[Journalled]:
    """The records of a journal with these events, before they are written."""
    encoder = RecordEncoder()
    return [record for event in sequence if isinstance(record := encoder.encode(event), Journalled)]


def written(sequence: Iterable[Event]) -> bytes:
    """The same as bytes."""
    return b"".join(line_of(record) for record in encoded(sequence))


def acceptable(messages: Iterable[Message]) -> bool:
    """Whether every call has its result directly after its message, and no other results exist."""
    rest = list(messages)
    while rest:
        message = rest.pop(0)
        if isinstance(message, ToolResult):
            return False
        asked = [call.id for call in message.calls] if isinstance(message, Assistant) else []
        answers, rest = rest[: len(asked)], rest[len(asked) :]
        if asked != [answer.call.id for answer in answers if isinstance(answer, ToolResult)]:
            return False
    return True


def record_all(session: Session, *sequence: Event) -> None:
    for event in sequence:
        session.record(event)


def session_folder(home: Path) -> Path:
    """The only session of a home."""
    (folder,) = (path for path in (home / "sessions").iterdir() if path.is_dir())
    return folder
