"""Requests have a form that the provider accepts: the order of roles, ids, names, arguments and fields."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from rlm.core.adaptation import PICTURE, Adaptation, adapt, call_arguments, call_name, short_id
from rlm.core.agent import GO_ON, NO_PICTURES
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import ASK, SUMMARY, Compact, LastTurns
from rlm.core.events import Adapted, Failed
from rlm.core.history import History
from rlm.core.messages import (
    Assistant,
    Kind,
    Message,
    Outcome,
    Reply,
    Schema,
    ToolResult,
    User,
    Wire,
    assistant,
    items_of,
)
from rlm.core.ports import ToolChoice
from rlm.core.state import replay
from rlm.errors import MessagesRefused, ModelError, ModelUnavailable
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, call, open_agent, raw_call, says, turn


def roles(messages: Sequence[Message]) -> str:
    """Return the roles that a chat template sees: s, u, a and t for system, user, assistant and tool."""
    return "".join(message.wire()["role"][0] for message in messages)


class StrictModel(ScriptedModel):
    """Refuses messages until they have the form that it requires."""

    def __init__(self, adaptation: Adaptation, *script: Reply) -> None:
        super().__init__(*script)
        self._adaptation = adaptation

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        wanted = [adapt(message, [self._adaptation]) for message in messages] == list(messages)
        wanted &= self._adaptation is not Adaptation.NO_TOOL_CHOICE or tool_choice == "auto"
        wanted &= self._adaptation is not Adaptation.ROLE_ORDER or "tu" not in roles(messages)
        if not wanted:
            self.adaptations |= {self._adaptation}
            raise MessagesRefused("400 Bad Request: not so")
        return await super().complete(messages, tools, tool_choice)


# ---- the order


async def test_a_request_for_a_summary_and_the_summary_are_joined_to_the_newest_result() -> None:
    model = ScriptedModel(turn("a"), turn("b"), turn("c", 900), says("the summary"), turn("d"), says("end"))
    agent, events = open_agent(model, FakeTool(), context=Compact(at=500, keep=1))
    await agent.run(SYSTEM, TASK)
    assert [roles(request.sent) for request in model.seen[3:]] == ["suatatat", "suat", "suatat"]
    newest = model.seen[3].sent[-1].wire()
    assert newest["content"] == f'ran {{"code": "c"}}\n\n{ASK}'
    assert model.seen[4].sent[-1].wire()["content"] == f'ran {{"code": "c"}}\n\n{SUMMARY.format("the summary")}'
    assert replay(events) == agent.state


async def test_a_message_after_a_limit_is_joined_to_the_last_result_and_outlives_it() -> None:
    model = ScriptedModel(turn("a"), turn("b"), turn("c"), turn("d"), says("end"))
    agent, events = open_agent(model, FakeTool(), context=LastTurns(2), limits=TurnLimit(1))
    await agent.run(SYSTEM, TASK)
    agent._limits = TurnLimit(9)
    more = User("and more")
    await agent.run(User("The kernel is fresh.", Kind.NOTE), more)
    contents = [str(request.sent[-1].wire()["content"]) for request in model.seen]
    assert contents[1] == 'ran {"code": "a"}\n\nThe kernel is fresh.\n\nand more'
    assert [roles(request.sent) for request in model.seen] == ["su", "suat", "suatat", "suatat", "suatat"]
    assert [message.wire()["content"] for message in model.seen[4].sent[:2]][1] == "Do it.\n\nand more"
    assert replay(events) == agent.state


async def test_tasks_that_become_adjacent_by_a_drop_are_joined_in_order() -> None:
    model = ScriptedModel(says("one"), says("two"), turn("a"), turn("b"), turn("c"), says("end"))
    agent, events = open_agent(model, FakeTool(), context=LastTurns(2))
    for task in ("first", "second", "third"):
        await agent.run(*([] if events else [SYSTEM]), User(task))
    assert roles(model.seen[-1].sent) == "suatat"
    assert model.seen[-1].sent[1].wire()["content"] == "first\n\nsecond\n\nthird"
    assert replay(events) == agent.state


async def test_a_second_summary_replaces_the_first_wherever_that_is() -> None:
    model = ScriptedModel(turn("a"), turn("b", 900), says("one"), turn("c", 9_000), says("two"), says("end"))
    agent, events = open_agent(model, FakeTool(), context=Compact(at=500, keep=2))
    await agent.run(SYSTEM, User("x" * 9_000))
    users = [user for message in model.seen[-1].messages if isinstance(user := message, User)]
    assert [user.content for user in users if user.kind is Kind.SUMMARY] == [SUMMARY.format("two")]
    assert replay(events) == agent.state


async def test_a_note_after_a_text_needs_no_joining() -> None:
    model = ScriptedModel(says("one, ", finish="max_tokens"), says("two"))
    agent, _ = open_agent(model)
    await agent.run(SYSTEM, TASK)
    assert model.seen[1].sent[-1] == User(GO_ON, Kind.NOTE)


async def test_pictures_are_joined_to_results_if_a_provider_requires_it() -> None:
    model = StrictModel(Adaptation.ROLE_ORDER, turn("a"), turn("b"), says("end"))
    tool = FakeTool("ipython", Outcome("a picture", pictures=("data:1",)), Outcome("another", pictures=("data:2",)))
    agent, events = open_agent(model, tool)
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.DONE
    assert [roles(request.sent) for request in model.seen] == ["su", "suat", "suatat"]
    picture = {"type": "image_url", "image_url": {"url": "data:1"}}
    assert model.seen[1].sent[-1].wire()["content"] == [{"type": "text", "text": "a picture"}, picture]
    assert replay(events) == agent.state


@pytest.mark.parametrize("order", [[], [Adaptation.ROLE_ORDER]])
async def test_pictures_are_left_out_for_a_model_that_accepts_none(order: list[Adaptation]) -> None:
    """Also if they had to be joined to results before."""
    model = StrictModel(Adaptation.NO_PICTURES, turn("a"), turn("b"), says("end"))
    model.adaptations |= set(order)
    tool = FakeTool(
        "ipython", Outcome("a picture", pictures=("data:1",)), Outcome("two", pictures=("data:2", "data:3"))
    )
    agent, events = open_agent(model, tool)
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.DONE
    sent = [message.wire()["content"] for message in model.seen[-1].sent if not isinstance(message, Assistant)]
    assert all(isinstance(content, str) for content in sent)
    assert sum(content.count(PICTURE) for content in sent) == 3
    assert [event.reason for event in events if isinstance(event, Failed)] == [NO_PICTURES]
    assert replay(events) == agent.state


# ---- the form


LONG_ID = "call_0123456789abcdef"
WIRE: Wire = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "hm",
    "tool_calls": [
        {"id": LONG_ID, "index": 0, "type": "function", "function": {"name": "ipython", "arguments": '{"code": "1"}'}}
    ],
}


def odd(**function: str) -> Reply:
    """Messages as an older version of rlm, or another provider, may have left them."""
    call = {**WIRE["tool_calls"][0], "function": WIRE["tool_calls"][0]["function"] | function}
    return Reply(assistant({**WIRE, "tool_calls": [call]}))


@pytest.mark.parametrize(
    ("adaptation", "reply"),
    [
        (Adaptation.SHORT_IDS, odd()),
        (Adaptation.PLAIN_FIELDS, odd()),
        (Adaptation.TEXT_CONTENT, odd()),
        (Adaptation.SOUND_CALLS, odd(name="no such tool", arguments='{"code": "1')),
    ],
)
async def test_refused_messages_are_sent_in_another_form_from_then_on(adaptation: Adaptation, reply: Reply) -> None:
    model = StrictModel(adaptation, reply, reply, says("end"))
    agent, events = open_agent(model, FakeTool())
    assert (await agent.run(SYSTEM, TASK)).answer == "end"
    assert sum(isinstance(event, Adapted) for event in events) == 1
    assert len(model.seen) == 3
    sent = [message for message in model.seen[-1].sent if isinstance(message, Assistant)]
    assert sent == [adapt(reply.message, [adaptation])] * 2
    assert [message.calls[0].arguments for message in sent] == [reply.message.calls[0].arguments] * 2
    assert replay(events) == agent.state


def test_each_id_gets_one_short_form() -> None:
    assert short_id("a1B2c3D4e") == "a1B2c3D4e"
    assert short_id(LONG_ID) == short_id(LONG_ID)
    assert len({short_id(f"call_{n}") for n in range(99)}) == 99
    plain = User("x")
    assert adapt(plain, list(Adaptation)) is plain


@pytest.mark.parametrize(
    ("name", "valid"),
    [("bash", "bash"), ("a b", "a_b"), ("3d", "_3d"), ("x" * 99, "x" * 64), ("功能", "__"), ("-x", "_-x")],
)
def test_names_of_missing_tools_get_a_form_that_every_provider_accepts(name: str, valid: str) -> None:
    assert call_name(name) == valid


async def test_a_refusal_that_no_other_form_helps_is_final() -> None:
    model = StrictModel(Adaptation.ROLE_ORDER)
    agent, _ = open_agent(model, limits=TurnLimit(2))
    model._adaptation = Adaptation.NO_TOOL_CHOICE
    model.script = [says("end")]
    assert (await agent.run(SYSTEM, TASK)).answer == "end"
    agent, _ = open_agent(ScriptedModel(MessagesRefused("400 Bad Request: no")))
    with pytest.raises(ModelError, match="no"):
        await agent.run(SYSTEM, TASK)


async def test_a_form_for_earlier_messages_does_not_apply_to_later_ones() -> None:
    item: Wire = {"type": "message", "id": "m"}
    with_items = replace(turn("a"), message=replace(turn("a").message, items=(item,)))
    refusal = MessagesRefused("400 Bad Request: no", frozenset({Adaptation.NO_ITEMS}))
    model = ScriptedModel(with_items, refusal, with_items, says("end"))
    agent, _ = open_agent(model, FakeTool())
    assert (await agent.run(SYSTEM, TASK)).answer == "end"
    assert [
        [items_of(message) for message in request.sent if isinstance(message, Assistant)] for request in model.seen
    ] == [
        [],
        [(item,)],
        [()],
        [(), (item,)],
    ]


async def test_a_tool_choice_that_is_refused_is_left_out() -> None:
    replies = turn("a"), turn("b", 900), says("the summary"), says("end")
    model = StrictModel(Adaptation.NO_TOOL_CHOICE, *replies)
    agent, _ = open_agent(model, FakeTool(), context=Compact(at=500, keep=1))
    assert (await agent.run(SYSTEM, TASK)).answer == "end"
    assert [request.tool_choice for request in model.seen] == ["auto"] * 4


@pytest.mark.parametrize("at", [500, None])
async def test_a_refused_request_for_a_summary_ends_no_run(at: int | None) -> None:
    refused = ModelError("400 Bad Request: no summaries")
    script: list[Reply | ModelError] = [turn("a"), turn("b", 900), *([] if at else [says("")]), refused, says("end")]
    model = ScriptedModel(*(step for step in script if not (isinstance(step, Reply) and not step.message.text)))
    agent, events = open_agent(model, FakeTool(), context=Compact(at=at or 500, keep=1))
    assert (await agent.run(SYSTEM, TASK)).answer == "end"
    assert Failed("The conversation was not compacted: 400 Bad Request: no summaries") in events


async def test_a_provider_that_is_down_during_a_summary_is_reported_as_such() -> None:
    agent, _ = open_agent(
        ScriptedModel(turn("a"), turn("b", 900), ModelUnavailable("down")),
        FakeTool(),
        context=Compact(at=500, keep=1),
    )
    with pytest.raises(ModelUnavailable, match="down"):
        await agent.run(SYSTEM, TASK)


async def test_a_summary_that_calls_a_tool_is_invalid() -> None:
    wrong = says("I will", call(code="1"), finish="stop")
    agent, events = open_agent(
        ScriptedModel(turn("a"), turn("b", 900), wrong, says("end")), FakeTool(), context=Compact(at=500, keep=1)
    )
    await agent.run(SYSTEM, TASK)
    assert SUMMARY.partition("\n")[0] not in str(events)


async def test_the_model_reads_its_own_text_where_it_was_repaired() -> None:
    written = raw_call("ipython", '{"code": "1')
    wire = {
        **WIRE,
        "tool_calls": [{"id": written.id, "type": "function", "function": {"name": "ipython", "arguments": "{}"}}],
    }
    wrong = Reply(assistant(wire, {written.id: {"name": "ipython", "arguments": written.arguments}}))
    agent, _ = open_agent(model := ScriptedModel(wrong, says("end")), FakeTool())
    await agent.run(SYSTEM, TASK)
    result = model.seen[1].sent[-1]
    assert isinstance(result, ToolResult)
    assert result.content.endswith('You wrote: {"code": "1')
    assert result.call == replace(written)


def test_only_the_newest_of_joined_summaries_stays() -> None:
    first, second, third = (User(SUMMARY.format(number), Kind.SUMMARY) for number in "123")
    reply, ran = says("a", call(code="1")).message, ToolResult(call(code="1"), "1")
    opening = History().add(SYSTEM).add(replace(TASK, joined=(first,)))
    history = opening.add(reply).add(replace(ran, joined=(second,))).add(assistant({"content": "a"})).add(third)
    adapted = history.adapted({Adaptation.NEWEST_SUMMARY}).messages[1:]
    assert adapted == (TASK, reply, ran, assistant({"content": "a"}), third)


@pytest.mark.parametrize("written", ['{"n": NaN}', '{"n": -Infinity}', '{"n": 1', "[1]", "null", "", "[" * 100_000])
def test_arguments_that_some_provider_refuses_are_sent_as_an_empty_object(written: str) -> None:
    assert (call_arguments(written), call_arguments('{"n": 1.5}')) == ("{}", '{"n": 1.5}')


def test_the_items_of_a_message_are_plain_too_or_left_out() -> None:
    """Of an item of a known type, the fields that every endpoint accepts are kept; of another, all that are not null."""
    thought: Wire = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e", "status": "x"}
    odd_one: Wire = {"type": "new", "id": "n", "status": "x", "empty": None}
    both = replace(says("hi").message, items=(thought, odd_one))
    plain = adapt(both, [Adaptation.PLAIN_FIELDS])
    assert items_of(plain) == (
        {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"},
        {"type": "new", "id": "n", "status": "x"},
    )
    assert adapt(plain, [Adaptation.PLAIN_FIELDS]) is plain
    bare = adapt(both, [Adaptation.NO_ITEMS])
    assert bare == says("hi").message
    assert adapt(bare, [Adaptation.NO_ITEMS]) is bare
    assert adapt(TASK, [Adaptation.NO_ITEMS]) is TASK
    assert items_of(TASK) == ()
