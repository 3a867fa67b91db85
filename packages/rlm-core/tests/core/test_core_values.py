"""The values of the core."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.core.budget import Spent, Stop
from rlm.core.conversation import Conversation
from rlm.core.events import Replied, Said
from rlm.core.history import History, Summary
from rlm.core.messages import (
    Assistant,
    Ending,
    Kind,
    Outcome,
    System,
    ToolResult,
    Usage,
    User,
    assistant,
    ending,
    size,
    with_pictures,
)
from rlm.core.state import ConversationState, replay
from rlm.errors import AgentError, ContextTooLong, ModelError, RlmError
from rlm.text.clip import clip, join, one_line
from rlm_testkit.fakes import SYSTEM, TASK, call, says

# ---- messages


@pytest.mark.parametrize(
    ("usages", "cost"),
    [
        ((), None),
        ((Usage(1, cost=0.1), Usage(1, cost=0.2)), 0.3),
        ((Usage(), Usage(1, cost=0.0)), 0.0),
        ((Usage(1, cost=0.1), Usage(2)), None),
        ((Usage(1), Usage(), Usage(1, cost=0.1)), None),
    ],
)
def test_a_part_of_a_cost_is_not_taken_for_the_whole(usages: tuple[Usage, ...], cost: float | None) -> None:
    assert sum(usages, Usage()).cost == cost
    assert sum(reversed(usages), Usage()).cost == cost


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (System("s"), {"role": "system", "content": "s"}),
        (User("u"), {"role": "user", "content": "u"}),
        (User([{"type": "text", "text": "t"}]), {"role": "user", "content": [{"type": "text", "text": "t"}]}),
        (Assistant("a", (), {"role": "assistant", "x": 1}), {"role": "assistant", "x": 1}),
    ],
)
def test_a_message_as_json(message: System | User | Assistant, wire: object) -> None:
    assert message.wire() == wire


def test_a_tool_result_as_json_names_its_call() -> None:
    asked = call(code="1")
    assert ToolResult(asked, "1", ok=False).wire() == {"role": "tool", "tool_call_id": asked.id, "content": "1"}


def test_a_message_of_the_provider_is_read_and_kept_unchanged() -> None:
    function = {"name": "ipython", "arguments": '{"code": 1}'}
    received = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": function}], "x": [1]}
    message = assistant(received)
    assert (message.text, message.received) == ("", received)
    assert [(c.id, c.name, c.arguments) for c in message.calls] == [("c", "ipython", '{"code": 1}')]


@pytest.mark.parametrize(
    ("received", "text"),
    [({"content": "yes"}, "yes"), ({"content": None, "refusal": "no"}, "no"), ({"tool_calls": None}, "")],
)
def test_a_refusal_is_the_text_where_there_is_no_content(received: dict[str, object], text: str) -> None:
    assert (assistant(received).text, assistant(received).calls) == (text, ())


FINISHES = {
    Ending.STOP: """stop end_turn STOP eos eos_token tool_calls tool_use function_call stop_sequence COMPLETE complete
        end_of_text <|im_end|> finished FINISH_REASON_STOP unknown""",
    Ending.LENGTH: """length max_tokens MAX_TOKENS MaxTokens maxTokens MAXTOKENS model_length max_output_tokens
        FinishReason.MAX_TOKENS finish_reason_max_tokens model_context_window_exceeded context_length_exceeded
        ERROR_LIMIT time_limit max_tokens_reached TOKEN_LIMIT_REACHED token-limit length_limit length_exceeded
        out_of_tokens output_limit truncated incomplete max_new_tokens""",
    Ending.CONTENT_FILTER: """content_filter contentFilter ContentFilter CONTENT_FILTERED SAFETY RECITATION sensitive
        sensitive_words flagged violation safety_block risk_control refusal Blocked blocklist PROHIBITED_CONTENT SPII
        LANGUAGE guardrail_intervened ERROR_TOXIC IMAGE_SAFETY policy_violation moderation""",
    Ending.ERROR: """error network_error MALFORMED_FUNCTION_CALL malformedFunctionCall UNEXPECTED_TOOL_CALL ERROR
        too_many_tool_calls insufficient_system_resource abort cancelled USER_CANCEL rate_limit overloaded timeout""",
}


@pytest.mark.parametrize(
    ("end", "finish"), [(end, each) for end, spellings in FINISHES.items() for each in spellings.split()]
)
def test_what_a_finish_reason_means_in_any_spelling(end: Ending, finish: str) -> None:
    assert ending(finish) is end


def test_the_size_of_a_message_is_that_of_its_text() -> None:
    asked = call("tool", a=1)
    picture = {"type": "image_url", "image_url": {"url": "data:" + "x" * 9_999}}
    assert [size(m) for m in (System("12345"), User("123"), ToolResult(asked, "1234"))] == [5, 3, 4]
    assert size(Assistant("12", (asked, asked))) == 2 + 2 * len('tool{"a": 1}')
    assert size(User([picture, picture])) == 2_000


def test_new_tokens_are_those_that_were_not_cached() -> None:
    assert 13 == Usage(prompt=10, completion=5, cached=2).new_tokens
    assert 5 == Usage(prompt=1, completion=5, cached=2).new_tokens, "a provider may report any numbers"


def test_usage_adds_up_and_stays_estimated() -> None:
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)
    assert (Usage(estimated=True) + Usage()).estimated
    assert (Usage() + Usage(estimated=True)).estimated
    assert not (Usage() + Usage()).estimated


# ---- budget


def test_each_stop_has_a_status_for_the_session() -> None:
    ends = {Stop.DONE: "done", Stop.ERROR: "error", Stop.CANCELLED: "cancelled", Stop.SCHEMA: "error"}
    assert [stop.status for stop in Stop] == [ends.get(stop, "limit") for stop in Stop]


def test_spending_adds_up_and_a_summary_is_not_a_turn() -> None:
    summary, last = says("a summary", prompt=150, completion=5), says("b" * 80, prompt=120, completion=20)
    state = replay([Replied(says("a" * 400)), Replied(summary, aside=True), Replied(last)])
    assert state.spent == Spent(2, Usage(370, 35), 120, 409)


def test_the_next_prompt_is_estimated_by_the_last_one_counted() -> None:
    task, reply = Said(User("t" * 400)), Replied(says("a" * 600))
    assert replay([task]).prompt_tokens == 0
    assert replay([task, reply]).prompt_tokens == 250
    assert replay([task, reply, Replied(says("s" * 200, prompt=999), aside=True)]).prompt_tokens == 300


# ---- errors


def test_a_failed_sub_agent_says_how_it_stopped() -> None:
    assert AgentError("no").stop == "error"
    assert AgentError("no", "max_turns").stop == "max_turns"
    assert str(AgentError("no", "max_turns")) == "no"


def test_one_class_catches_all() -> None:
    assert issubclass(ContextTooLong, ModelError)
    assert issubclass(ModelError, RlmError)


# ---- history


def test_numbers_and_turns_count_from_the_start_whatever_is_dropped() -> None:
    history = History().add(SYSTEM).add(TASK)
    for text in "abc":
        asked = says(text, call(code=text)).message
        history = history.add(asked).add(ToolResult(asked.calls[0], text))
    history = history.drop(history.in_turns([1, 2]), Summary(1, 2, "s")).add(says("d").message)
    assert [(e.number, e.turn) for e in history.entries] == [(0, 0), (1, 0), (6, 3), (7, 3), (8, 4)]
    assert (history.said, history.turns, history.live_turns()) == (9, 4, [3, 4])
    assert history.drop([0]).summaries == history.summaries == (Summary(1, 2, "s"),)


def test_call_ids_may_repeat_between_turns() -> None:
    asked = says("", call(code="1")).message
    history = History().add(asked).add(ToolResult(asked.calls[0], "1"))
    assert history.unanswered() == []
    assert history.add(asked).unanswered() == list(asked.calls)


def test_nothing_is_unanswered_before_the_first_turn() -> None:
    asked = says("", call(code="1")).message
    assert History().add(SYSTEM).add(asked, aside=True).unanswered() == []


def test_the_reply_to_a_request_for_a_summary_is_not_a_turn() -> None:
    history = History().add(TASK).add(User("sum up", Kind.ASK)).add(says("summary").message, aside=True)
    assert (history.turns, history.live_turns(), history.asides()) == (0, [], (1, 2))
    conversation = Conversation(lambda _: None, ConversationState(history))
    conversation.settle()
    assert conversation.state.history.messages == (TASK,)


# ---- clip


def test_a_text_within_the_limit_is_left_alone() -> None:
    assert [clip("", 0), clip("1234", 4)] == ["", "1234"]


def test_the_note_says_how_much_is_missing_and_where_the_full_text_is() -> None:
    assert clip("a" * 5_000, 3) == "aa\n[… 4,997 characters left out …]\na"
    assert join("a", 1, "b", "outputs/1") == "a\n[… 1 characters left out; the full text is in outputs/1 …]\nb"


@given(st.text(max_size=200), st.integers(0, 250))
def test_a_clipped_text_keeps_its_head_and_its_tail(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    if len(text) <= limit:
        assert clipped == text
    else:
        head, tail = limit - limit // 2, limit // 2
        note = f"\n[… {len(text) - limit:,} characters left out …]\n"
        assert clipped == text[:head] + note + text[len(text) - tail :]
        assert len(clipped) == limit + len(note)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a  b\n\nc", "a b c"), ("0123456789", "0123456789"), ("0123456789a", "012345678…"), ("a" + " " * 99 + "b", "a…")],
)
def test_a_text_on_one_line_shows_where_it_is_cut(text: str, line: str) -> None:
    assert one_line(text, 10) == line


def test_a_line_added_to_a_result_is_separate() -> None:
    assert [Outcome(content).with_line("[more]").content for content in ("1", "1\n", "")] == [
        "1\n[more]",
        "1\n[more]",
        "[more]",
    ]
    assert Outcome("1").with_line("") == Outcome("1")


def test_a_usage_of_nothing_is_empty() -> None:
    assert [Usage().empty, Usage(prompt=1).empty, Usage(completion=1).empty] == [True, False, False]


def test_a_task_with_pictures_is_a_list_of_parts_whose_text_counts_as_text() -> None:
    assert with_pictures("look", ()) == "look"
    parts = with_pictures("look" * 100, ["data:image/png;base64,AAAA"])
    assert [part["type"] for part in parts if isinstance(part, dict)] == ["text", "image_url"]
    assert size(User(parts)) == 400 + 1_000
