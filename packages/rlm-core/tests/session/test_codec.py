"""Events are encoded as records and decoded; everything that the conversation needs is kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlm.core.budget import Spent, Stop
from rlm.core.events import (
    CallStarted,
    ChildEnded,
    ChildStarted,
    Delta,
    Dropped,
    Event,
    Failed,
    KernelRestarted,
    LimitReached,
    OutputReceived,
    ParametersChanged,
    Replayed,
    Replied,
    RequestStarted,
    Retried,
    Said,
    SkillsCalled,
    Stopped,
    ToolReturned,
    UserCellRan,
)
from rlm.core.history import Summary
from rlm.core.messages import Kind, Message, ToolResult, Usage, User, Wire
from rlm.core.state import replay
from rlm.errors import SessionError
from rlm.sessions.decoder import RecordDecoder, decode
from rlm.sessions.encoder import RecordEncoder
from rlm.sessions.journal import parse
from rlm.sessions.records import (
    CellOutputRecord,
    DropRecord,
    Journalled,
    MessageRecord,
    ResultRecord,
    TokenCounts,
    UnknownRecord,
    wire,
)
from rlm_testkit.journals import answer, cell, conversations, encoded, ending, opening, reply, turn, written

JOURNALLED = (
    ParametersChanged, Retried, Failed, LimitReached, KernelRestarted, SkillsCalled, UserCellRan, ChildStarted, ChildEnded, Replayed, Said, ToolReturned, Dropped,
)  # fmt: skip


class Clock:
    """Returns each of its times once, then always the last one."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


def read(data: bytes) -> list[Event]:
    return list(decode(parse(data).records))


law = settings(deadline=None)


@law
@given(conversations())
def test_the_journal_gives_the_same_state_as_the_events(events: list[Event]) -> None:
    assert replay(read(written(events))) == replay(events)


@law
@given(conversations(), st.data())
def test_every_prefix_of_the_journal_gives_the_same_state_as_the_prefix_of_the_events(
    events: list[Event], data: st.DataObject
) -> None:
    prefix = events[: data.draw(st.integers(0, len(events)))]
    assert replay(read(written(prefix))) == replay(prefix)


@law
@given(conversations())
def test_what_is_read_is_what_was_written(events: list[Event]) -> None:
    """Except durations, and the size of the prompt in the end of a run."""
    journalled = [event for event in events if isinstance(event, JOURNALLED)]
    assert [event for event in read(written(events)) if isinstance(event, JOURNALLED)] == journalled


@law
@given(conversations())
def test_ids_count_from_zero_and_drops_name_messages_by_them(events: list[Event]) -> None:
    records = encoded(events)
    assert [record.id for record in records] == list(range(len(records)))
    message_ids = {record.id for record in records if isinstance(record, MessageRecord)}
    assert all(set(record.ids) <= message_ids for record in records if isinstance(record, DropRecord))


def live(records: list[Journalled]) -> list[Wire]:
    """Follow exactly the rules of docs/sessions.md for readers."""
    dropped = {id for record in records if isinstance(record, DropRecord) for id in record.ids}
    return [record.message for record in records if isinstance(record, MessageRecord) and record.id not in dropped]


@law
@given(conversations())
def test_each_request_can_be_rebuilt_from_the_records_alone(events: list[Event]) -> None:
    records = encoded(events)
    sent: list[tuple[Message, ...]] = [
        replay(events[:n]).history.messages for n, event in enumerate(events) if isinstance(event, Replied)
    ]
    replies = [n for n, r in enumerate(records) if isinstance(r, MessageRecord) and r.role == "assistant"]
    assert [[message.wire() for message in messages] for messages in sent] == [live(records[:n]) for n in replies]


@law
@given(conversations(), st.data())
def test_an_encoder_can_continue_where_another_stopped(events: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(events)))
    first = encoded(events[:cut])
    encoder = RecordEncoder(earlier=first)
    rest = [record for event in events[cut:] if isinstance(record := encoder.encode(event), Journalled)]
    assert replay(decode([*first, *rest])) == replay(events)
    assert [record.id for record in (*first, *rest)] == list(range(len(first) + len(rest)))


def test_a_record_says_type_id_and_time_first() -> None:
    record = RecordEncoder(Clock(12.3456)).encode(Said(User("hello")))
    assert record is not None
    assert list(wire(record).items()) == [
        ("type", "message"), ("id", 0), ("ts", 12.346), ("message", {"role": "user", "content": "hello"})
    ]  # fmt: skip


def test_durations_come_from_the_timer_and_not_from_the_clock() -> None:
    encoder = RecordEncoder(clock=Clock(500.0, 400.0, 300.0, 200.0), timer=Clock(10.0, 12.5, 20.0, 20.25, 20.5))
    response = reply("", cell("1 + 1"))
    (call,) = response.message.calls
    records = [encoder.encode(event) for event in (RequestStarted(), Replied(response), *answer(call, "2"))]
    assert [wire(record).get("duration") for record in records if record] == [2.5, None, 0.25, 0.5]


def test_a_result_that_is_replaced_has_no_duration() -> None:
    response = reply("", cell("1 + 1"))
    (call,) = response.message.calls
    records = encoded([Replied(response), *answer(call, "2"), ToolReturned(ToolResult(call, "short"))])
    assert ["duration" in wire(record) for record in records] == [False, True, False]


def test_a_record_that_is_only_for_listeners_has_no_id() -> None:
    encoder = RecordEncoder()
    response = reply("", cell("1 + 1"))
    (call,) = response.message.calls
    watched = [encoder.encode(event) for event in (CallStarted(call), OutputReceived("2"), Delta("so"))]
    assert all(record and "id" not in wire(record) for record in watched)
    assert [record and wire(record)["type"] for record in watched] == ["cell_start", "cell_output", "delta"]
    assert isinstance(watched[1], CellOutputRecord)
    assert watched[1].call_id == call.id


def test_side_requests_notes_and_summaries_keep_what_the_fold_needs() -> None:
    events: list[Event] = [
        *opening("task"),
        Replied(reply("turn")),
        Said(User("summarise", Kind.ASK)),
        Replied(reply("summary"), aside=True),
        Dropped((3, 4), "summary_call"),
        Dropped((2,), "summarize", Summary(1, 1, "notes")),
    ]
    records = [wire(record) for record in encoded(events)]
    assert records[4]["kind"] == "ask"
    assert records[5]["aside"] is True
    assert records[6] == {"type": "drop", "id": 6, "ts": records[6]["ts"], "ids": [4, 5], "reason": "summary_call"}
    assert records[7]["ids"] == [3]
    assert (records[7]["summary"], records[7]["turns"]) == ("notes", [1, 1])


def test_a_message_of_the_provider_is_journalled_unchanged() -> None:
    response = reply(None, cell("x"), reasoning_content="hm", signature={"z": 1, "a": [None]}, refusal=None)
    (record,) = encoded([Replied(response)])
    assert json.dumps(wire(record)["message"]) == json.dumps(response.message.received)


def test_estimated_usage_says_so() -> None:
    stopped = [Stopped(Stop.DONE, "", Spent(1, Usage(1, 2, estimated=True))), Stopped(Stop.DONE, "", Spent())]
    records = [wire(record) for record in encoded(stopped)]
    assert records[0]["usage"]["estimated"] is True
    assert "estimated" not in records[1]["usage"]


def test_a_record_of_an_unknown_type_is_ignored() -> None:
    (record,) = parse(b'{"type": "weather", "id": 3, "ts": 0.0, "sky": "blue"}\n').records
    assert record == UnknownRecord(3, 0.0)
    assert RecordDecoder().decode(record) is None


@pytest.mark.parametrize(
    "record",
    [
        MessageRecord(7, 0.0, {"role": "user"}),
        MessageRecord(7, 0.0, {}),
        MessageRecord(7, 0.0, {"role": "tool", "tool_call_id": "nobody's", "content": ""}),
        DropRecord(7, 0.0, (99,), ""),
        ResultRecord(7, 0.0, "limit", "boredom", "", 1, TokenCounts()),
    ],
)
def test_an_invalid_record_is_named(record: Journalled) -> None:
    with pytest.raises(SessionError, match="Record 7 of the journal"):
        RecordDecoder().decode(record)


def test_a_whole_run_reads_as_records() -> None:
    events = [*opening("task"), *turn("Let me see.", (cell("1 + 1"), "2")), *ending("2")]
    kinds = [(r["type"], r.get("message", {}).get("role")) for r in map(wire, encoded(events))]
    assert kinds == [
        ("message", "system"), ("message", "user"), ("request", None), ("message", "assistant"), ("message", "tool"),
        ("message", "assistant"), ("result", None),
    ]  # fmt: skip
