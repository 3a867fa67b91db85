"""Whatever a provider sends, the agent can use the reply, and the provider accepts it back."""

from __future__ import annotations

import copy
import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.core.messages import Reply, ToolCall, Usage, assistant
from rlm.providers.chat import ChatAPI, ChatAssembler
from rlm.providers.errors import Fault, TransportError
from rlm.providers.normalize import message, strip_surrogates
from rlm_testkit.scripted import chunks

NULL = st.none()
WORDS = st.text(max_size=30)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)
FUNCTIONS = st.fixed_dictionaries({}, optional={"name": NULL | WORDS, "arguments": ANYTHING, "extra": ANYTHING})
CALLS = st.fixed_dictionaries(
    {"function": FUNCTIONS}, optional={"id": NULL | st.sampled_from(["", "a", "b"]) | ANYTHING, "type": NULL | WORDS}
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": WORDS,
        "content": ANYTHING,
        "tool_calls": NULL | st.lists(CALLS, max_size=4),
        "reasoning_content": NULL | WORDS,
        "reasoning": NULL | WORDS,
        "refusal": NULL | WORDS,
        "extra": ANYTHING,
    },
)
COUNTS = NULL | st.integers() | WORDS
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "choices": ANYTHING
        | st.lists(
            st.fixed_dictionaries({"message": MESSAGES}, optional={"finish_reason": NULL | WORDS}),
            min_size=1,
            max_size=2,
        ),
        "error": ANYTHING,
        "usage": ANYTHING
        | st.fixed_dictionaries(
            {}, optional={"prompt_tokens": COUNTS, "completion_tokens": COUNTS, "prompt_tokens_details": ANYTHING}
        ),
    },
)

reply = ChatAPI().reply


def characters() -> int:
    return 100


def counted() -> Any:
    numbers = itertools.count()
    return lambda: f"new{next(numbers)}"


def is_valid(wire: dict[str, Any]) -> bool:
    json.dumps(wire, ensure_ascii=False).encode()
    calls = wire.get("tool_calls", [])
    return (
        wire["role"] == "assistant"
        and (wire["content"] is None or (isinstance(wire["content"], str) and wire["content"] != ""))
        and ("tool_calls" not in wire or len(calls) > 0)
        and all(isinstance(call["id"], str) and call["id"] and call["type"] for call in calls)
        and len({call["id"] for call in calls}) == len(calls)
        and all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", call["function"]["name"]) for call in calls)
        and all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls)
    )


@given(ANYTHING | BODIES)
def test_any_body_is_a_valid_reply_or_a_fault(body: Any) -> None:
    before = copy.deepcopy(body)
    try:
        normalized = reply(body, characters)
    except Fault:
        return
    finally:
        assert body == before
    assert is_valid(normalized.message.received)
    assert normalized.finish
    assert (
        min(normalized.usage.prompt, normalized.usage.completion, normalized.usage.cached, normalized.usage.reasoning)
        >= 0
    )


@given(MESSAGES)
def test_a_valid_message_is_unchanged(received: dict[str, Any]) -> None:
    once, _ = message(received)
    assert message(once) == (once, {})
    assert assistant(once).received == once


@given(MESSAGES)
def test_unknown_fields_stay(received: dict[str, Any]) -> None:
    parsed, _ = message(received)
    for name in ("reasoning_content", "reasoning", "extra"):
        assert parsed.get(name) == strip_surrogates(received.get(name))


TEXTS = st.text(min_size=1, max_size=40)
STREAMABLE_CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.sampled_from(["bash", "edit"]), "arguments": ANYTHING.map(json.dumps)}
            ),
        }
    ),
    max_size=3,
).map(lambda calls: [{"id": f"call_{number}", **call} for number, call in enumerate(calls)])
STREAMABLE = st.fixed_dictionaries(
    {"content": NULL | TEXTS},
    optional={
        "tool_calls": STREAMABLE_CALLS,
        "reasoning_content": TEXTS,
        "reasoning": TEXTS,
        "refusal": TEXTS,
        "annotations": st.lists(st.dictionaries(WORDS, WORDS), min_size=1, max_size=2),
    },
)


@given(
    STREAMABLE,
    st.integers(1, 50),
    st.sampled_from(["stop", "tool_calls", "length"]),
    st.sampled_from([None, {"prompt_tokens": 9, "completion_tokens": 8}]),
)
def test_a_stream_cut_anywhere_gives_the_same_reply_as_the_whole(
    received: dict[str, Any], piece: int, finish: str, usage: Any
) -> None:
    body = {"choices": [{"message": received, "finish_reason": finish}], "usage": usage}
    assembler = ChatAssembler()
    streamed = "".join(assembler.add(chunk).text for chunk in chunks(body, piece))
    assert streamed == (received["content"] or "")
    assert outcome(assembler.body()) == outcome(body)


def outcome(body: dict[str, Any]) -> Reply | str:
    try:
        return reply(body, characters)
    except TransportError as empty:
        return empty.reason


@given(ANYTHING | st.lists(BODIES))
def test_any_stream_is_a_body_or_a_fault(pieces: Any) -> None:
    assembler = ChatAssembler()
    try:
        for piece in pieces if isinstance(pieces, list) else [pieces]:
            assembler.add(piece)
        body = assembler.body()
    except Fault:
        return
    assert isinstance(body["choices"], list)


def call_piece(index: int | None, id_: str | None, name: str | None, arguments: str) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    piece = {"function": function} | ({"id": id_} if id_ is not None else {})
    return piece | ({"index": index} if index is not None else {})


def assembled(*pieces: dict[str, Any]) -> list[tuple[str, str]]:
    assembler = ChatAssembler()
    for piece in pieces:
        assembler.add({"choices": [{"delta": {"tool_calls": [piece]}}]})
    assembler.add({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    calls = reply(assembler.body(), characters).message.calls
    assert len({call.id for call in calls}) == len(calls)
    return [(call.name, call.arguments) for call in calls]


def test_arguments_that_are_an_object_may_be_repeated_as_they_grow() -> None:
    pieces = [
        {"index": 0, "id": "a", "function": {"name": "bash", "arguments": arguments}} for arguments in ({}, {"a": "x"})
    ]
    pieces.append({"index": 0, "function": {"arguments": {"a": "x", "b": "y"}}})
    assert assembled(*pieces) == [("bash", '{"a": "x", "b": "y"}')]


def test_one_call_may_come_without_its_list() -> None:
    parsed, _ = message({"content": None, "tool_calls": {"id": "a", "function": {"name": "bash", "arguments": "{}"}}})
    assert [call["function"]["name"] for call in parsed["tool_calls"]] == ["bash"]


ONE_AND_TWO = [("bash", '{"n": 1}'), ("bash", '{"n": 2}')]


@pytest.mark.parametrize(
    "pieces",
    [
        [(0, "a", "bash", ""), (0, None, None, '{"n": 1}'), (1, "b", "bash", ""), (1, None, None, '{"n": 2}')],
        [(0, "a", "bash", '{"n": 1}'), (0, "b", "bash", '{"n": 2}')],  # every index is 0
        [(None, "a", "bash", '{"n": 1}'), (None, "b", "bash", '{"n": 2}')],  # no index
        [(0, "", "bash", '{"n": 1}'), (0, "", "bash", '{"n": 2}')],  # no id either
        [(None, None, "bash", '{"n": 1}'), (None, None, "bash", '{"n": 2}')],
        [(0, "a", "bash", '{"n"'), (0, "a", "bash", ": 1}"), (1, "b", "bash", '{"n": 2}')],  # name and id are repeated
        [
            (None, "a", "bash", ""),
            (None, None, None, '{"n": 1}'),
            (None, "b", "bash", ""),
            (None, None, None, '{"n": 2}'),
        ],
        [(0, "a", "bash", ""), (1, "b", "bash", ""), (0, None, None, '{"n": 1}'), (1, None, None, '{"n": 2}')],
        # every piece has another id
        [(0, "a", "bash", ""), (0, "b", None, '{"n": 1}'), (1, "c", "bash", ""), (1, "d", None, '{"n": 2}')],
        [(0, "a", "bash", '{"n"'), (0, "b", "bash", ": 1}"), (1, "c", "bash", '{"n": 2}')],
        [(0, "a", "ba", ""), (0, None, "sh", '{"n": 1}'), (1, "b", "bash", '{"n": 2}')],  # a name in pieces
        # the complete arguments once more; the arguments so far in every piece
        [(0, "a", "bash", '{"n": 1}'), (0, "a", "bash", '{"n": 1}'), (1, "b", "bash", '{"n": 2}')],
        [(0, "a", "bash", '{"n"'), (0, "a", "bash", '{"n": 1}'), (1, "b", "bash", '{"n": 2}')],
        # index 0, no ids, and the name comes first
        [(0, "", "bash", ""), (0, "", None, '{"n": 1}'), (0, "", "bash", ""), (0, "", None, '{"n": 2}')],
        [
            (0, "", "bash", '{"n": 1}'),
            (0, "", "bash", ""),
            (1, "", "bash", '{"n": 2}'),
        ],  # the name is repeated at the end
        # no index, and the pieces of two calls alternate
        [
            (None, "a", "bash", '{"n"'),
            (None, "b", "bash", '{"n"'),
            (None, "a", None, ": 1}"),
            (None, "b", None, ": 2}"),
        ],
    ],
)
def test_calls_are_distinguished_however_providers_number_them(pieces: list[tuple[Any, ...]]) -> None:
    assert assembled(*(call_piece(*piece) for piece in pieces)) == ONE_AND_TWO


def test_pieces_of_a_listed_field_are_matched_by_index() -> None:
    assembler = ChatAssembler()
    for piece in ("Let ", "me see"):
        details = [{"type": "reasoning.text", "index": 0, "text": piece}]
        assembler.add({"choices": [{"delta": {"content": "", "reasoning_details": details}}]})
    assembler.add({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]})
    received = reply(assembler.body(), characters).message.received
    assert received["reasoning_details"] == [{"type": "reasoning.text", "index": 0, "text": "Let me see"}]


def test_halves_of_a_character_are_joined() -> None:
    assembler = ChatAssembler()
    for half in ("\ud83d", "\ude00"):
        assembler.add({"choices": [{"delta": {"content": half}}]})
    assembler.add({"choices": [{"finish_reason": "stop"}]})
    assert reply(assembler.body(), characters).message.text == "😀"


def test_arguments_that_come_as_an_object_are_distinguished_too() -> None:
    assembler = ChatAssembler()
    for index, number in enumerate((1, 2)):
        piece = {"index": index, "id": "", "function": {"name": "bash", "arguments": {"n": number}}}
        assembler.add({"choices": [{"delta": {"tool_calls": [piece]}}]})
    calls = reply(assembler.body(done=True), characters).message.calls
    assert [(call.name, call.arguments) for call in calls] == ONE_AND_TWO


def test_parts_of_a_text_are_reported_and_joined() -> None:
    assembler = ChatAssembler()
    deltas = [{"content": [{"type": "text", "text": "one "}]}, {"content": "two"}, {"content": [{"text": " three"}]}]
    streamed = "".join(assembler.add({"choices": [{"delta": delta}]}).text for delta in deltas)
    assert streamed == reply(assembler.body(done=True), characters).message.text == "one two three"


def test_the_call_of_older_servers_is_a_call() -> None:
    assembler = ChatAssembler()
    for piece in ({"name": "bash", "arguments": ""}, {"arguments": '{"n"'}, {"arguments": ": 1}"}):
        assembler.add({"choices": [{"delta": {"function_call": piece}}]})
    received = reply(assembler.body(done=True), characters).message
    assert [(call.name, call.arguments) for call in received.calls] == ONE_AND_TWO[:1]
    assert "function_call" not in received.received


@pytest.mark.parametrize(
    "arguments", ['{"code": "print(1)', "null", "[1]", "42", '"{}"', '{"a": NaN}', "{'a': 1}", "[" * 9_999]
)
def test_arguments_that_a_strict_provider_would_refuse_are_sent_back_repaired_and_the_original_is_kept(
    arguments: str,
) -> None:
    call = {"id": "a", "function": {"name": "no such tool!", "arguments": arguments}}
    repaired = reply({"choices": [{"message": {"tool_calls": [call]}}]}, characters).message
    assert repaired.received["tool_calls"][0]["function"] == {"name": "no_such_tool_", "arguments": "{}"}
    assert repaired.calls == (ToolCall("a", "no such tool!", arguments),)
    assert assistant(repaired.received, repaired.written) == repaired


def test_numbers_that_json_does_not_allow_are_not_sent_back() -> None:
    received, _ = message(json.loads('{"content": "x", "extra": {"logprob": -Infinity, "more": [NaN, 1e999, 1.5]}}'))
    assert received["extra"] == {"logprob": None, "more": [None, None, 1.5]}


def test_the_end_that_a_server_says_is_an_end_without_a_finish_reason() -> None:
    assembler = ChatAssembler()
    assembler.add({"choices": [{"delta": {"content": "x"}, "finish_reason": ""}]})
    assert reply(assembler.body(done=True), characters).finish == "stop"


def test_a_stream_that_ends_with_nothing_is_a_fault() -> None:
    assembler = ChatAssembler()
    assembler.add({"choices": [{"delta": {"role": "assistant"}}]})
    with pytest.raises(TransportError, match="broke off"):
        assembler.body(done=True)


def test_a_stream_without_an_end_is_a_fault() -> None:
    assembler = ChatAssembler()
    assembler.add({"choices": [{"delta": {"content": "x"}}]})
    with pytest.raises(TransportError, match="broke off"):
        assembler.body()


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, Usage(25, 11, estimated=True)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(25, 11, estimated=True)),
        ({"prompt_tokens": 7, "completion_tokens": None}, Usage(7, 11, estimated=True)),
        ({"prompt_tokens": 7, "completion_tokens": 0}, Usage(7, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_tokens_details": None}, Usage(7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "prompt_cache_hit_tokens": 3}, Usage(7, 5, 3)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "cached_tokens": 3, "reasoning_tokens": 2}, Usage(7, 5, 3, 2)),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(7, 5, 3, 2),
        ),
        ("many", Usage(25, 11, estimated=True)),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Usage(25, 11, estimated=True)),
        ({"prompt_tokens": -7, "completion_tokens": 5}, Usage(25, 5, estimated=True)),
        ({"prompt_tokens": "7", "completion_tokens": 5.0}, Usage(7, 5)),
        ({"prompt_tokens": True, "completion_tokens": [5]}, Usage(25, 11, estimated=True)),
        ({"input_tokens": 7, "output_tokens": 5}, Usage(7, 5)),
    ],
)
def test_tokens_are_counted_or_estimated_and_marked(usage: Any, counts: Usage) -> None:
    body = {"choices": [{"message": {"content": "a few words"}}], "usage": usage}
    assert reply(body, characters).usage == counts


def test_parts_of_a_text_are_one_text() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert message({"content": parts})[0]["content"] == "one two"


def test_missing_and_duplicate_ids_are_replaced() -> None:
    call = {"function": {"name": "bash", "arguments": "{}"}}
    received = [{**call, "id": id_} for id_ in ("a", "a", "", None, 7, "b")] + [call]
    calls = message({"tool_calls": received}, counted())[0]["tool_calls"]
    assert [call["id"] for call in calls] == ["a", "new0", "new1", "new2", "new3", "b", "new4"]
