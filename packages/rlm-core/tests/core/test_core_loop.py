"""The loop: ask the model, run its tool calls, until there is an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from rlm.core.budget import Stop
from rlm.core.conversation import Conversation
from rlm.core.events import CallEnded, CallStarted, Event, ParametersChanged, Replied, Said, ToolReturned
from rlm.core.messages import Assistant, Kind, Message, Outcome, Reply, ToolResult, Usage, User, Wire, assistant
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, call, open_agent, says


def names(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def results(model: ScriptedModel, request: int = -1) -> list[ToolResult]:
    return [m for m in model.seen[request].messages if isinstance(m, ToolResult)]


async def test_a_message_without_tool_calls_is_the_answer() -> None:
    model = ScriptedModel(says("42"))
    agent, _ = open_agent(model)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.spent.turns) == ("42", Stop.DONE, 1)
    assert model.seen[0].messages == (SYSTEM, TASK)


async def test_a_tool_is_run_and_its_result_is_sent_before_the_answer() -> None:
    reply = says("", call(code="6*7"))
    model = ScriptedModel(reply, says("42"))
    agent, events = open_agent(model, FakeTool("ipython", Outcome("42\n")))
    result = await agent.run(SYSTEM, TASK)
    (wanted,) = reply.message.calls
    assert result.answer == "42"
    assert model.seen[1].messages == (SYSTEM, TASK, reply.message, ToolResult(wanted, "42\n"))
    opening = ["Said", "Said", "ParametersChanged", "RequestStarted", "Replied"]
    assert names(events) == [
        *opening,
        "CallStarted",
        "ToolReturned",
        "CallEnded",
        "RequestStarted",
        "Replied",
        "Stopped",
    ]


async def test_several_calls_run_in_order_and_each_gets_its_result() -> None:
    tool = FakeTool()
    reply = says("", call(code="a"), call(code="b"), call(code="c"))
    model = ScriptedModel(reply, says("done"))
    agent, events = open_agent(model, tool)
    await agent.run(SYSTEM, TASK)
    assert [arguments["code"] for arguments in tool.calls] == ["a", "b", "c"]
    assert [r.call for r in results(model)] == list(reply.message.calls)
    reported = [e for e in events if isinstance(e, CallStarted | ToolReturned | CallEnded)]
    assert names(reported) == ["CallStarted", "ToolReturned", "CallEnded"] * 3


async def test_a_failed_tool_is_reported_to_the_model_and_the_run_goes_on() -> None:
    model = ScriptedModel(says("", call(code="a"), call(code="b")), says("done"))
    agent, _ = open_agent(model, FakeTool("ipython", Outcome("Traceback", ok=False)))
    await agent.run(SYSTEM, TASK)
    assert [(r.content, r.ok) for r in results(model)] == [("Traceback", False), ('ran {"code": "b"}', True)]


async def test_calls_of_a_message_cut_off_at_the_length_limit_still_get_results() -> None:
    model = ScriptedModel(says("I will", call(code="a"), finish="length"), says("done"))
    agent, _ = open_agent(model, FakeTool())
    assert (await agent.run(SYSTEM, TASK)).answer == "done"
    assert len(results(model)) == 1


async def test_the_provider_message_is_sent_back_unchanged() -> None:
    received: Wire = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": []}
    agent, _ = open_agent(ScriptedModel(Reply(assistant(received | {"content": "a"})), says("b")))
    await agent.run(SYSTEM, TASK)
    sent = [m.wire() for m in agent.state.history.messages]
    assert sent[2] == received | {"content": "a"}


async def test_pictures_follow_the_results_of_their_turn_in_one_user_message() -> None:
    one = Outcome("a picture", pictures=("data:1", "data:2"))
    two = Outcome("another", pictures=("data:3",))
    model = ScriptedModel(says("", call(code="a"), call(code="b")), says("done"))
    agent, _ = open_agent(model, FakeTool("ipython", one, two))
    await agent.run(SYSTEM, TASK)
    *_, first, second, pictures_message = model.seen[1].messages
    assert isinstance(first, ToolResult)
    assert isinstance(second, ToolResult)
    parts = [{"type": "image_url", "image_url": {"url": f"data:{n}"}} for n in (1, 2, 3)]
    assert pictures_message == User(parts, Kind.NOTE)
    assert json.dumps(pictures_message.wire()) == json.dumps({"role": "user", "content": parts})


async def test_request_parameters_are_reported_once_while_they_stay_the_same() -> None:
    tool = FakeTool()
    model = ScriptedModel(says("", call(code="a")), says("", call(code="b")), says("done"))
    agent, events = open_agent(model, tool)
    await agent.run(SYSTEM, TASK)
    assert [e for e in events if isinstance(e, ParametersChanged)] == [
        ParametersChanged("scripted", (tool.schema(),), model.params)
    ]


async def test_request_parameters_are_reported_again_when_they_change() -> None:
    model = ScriptedModel(says("one"), says("two"))
    agent, events = open_agent(model)
    await agent.run(SYSTEM, TASK)
    model.params = {"temperature": 1}
    await agent.run(TASK)
    assert [e.params["temperature"] for e in events if isinstance(e, ParametersChanged)] == [0, 1]


async def test_a_second_task_goes_on_in_the_same_conversation() -> None:
    model = ScriptedModel(says("one"), says("two"))
    agent, _ = open_agent(model)
    await agent.run(SYSTEM, TASK)
    more = User("And now?")
    result = await agent.run(more)
    assert (result.answer, result.spent.turns, result.spent.usage) == ("two", 2, Usage(200, 20))
    assert model.seen[1].messages == (SYSTEM, TASK, Assistant("one", (), says("one").message.received), more)


async def test_an_event_is_folded_before_the_sink_gets_it() -> None:
    newest: list[Message] = []
    conversation = Conversation(lambda _: newest.append(conversation.state.history.messages[-1]))
    conversation.append(SYSTEM)
    conversation.append(TASK)
    assert newest == [SYSTEM, TASK]


@pytest.mark.parametrize("text", ["", "Let me see."])
async def test_a_text_beside_a_call_is_not_the_answer(text: str) -> None:
    agent, events = open_agent(ScriptedModel(says(text, call(code="a")), says("42")), FakeTool())
    assert (await agent.run(SYSTEM, TASK)).answer == "42"
    assert sum(isinstance(e, Replied) for e in events) == 2
    assert sum(isinstance(e, Said) for e in events) == 2
