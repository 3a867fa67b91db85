"""Actions of the user at a prompt, while the agent works and between its tasks."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.core.agent import Agent
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import Combined, Compact, LastTurns
from rlm.core.events import Dropped, Event
from rlm.core.history import OPENING
from rlm.core.messages import Assistant, Kind, ToolResult, User
from rlm.core.ports import Tool
from rlm.core.state import replay
from rlm.core.toolbox import Toolbox
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, call, open_agent, says


def open_agent_with_user(
    interjections: list[list[User]], model: ScriptedModel, *tools: Tool
) -> tuple[Agent, list[Event]]:
    """An agent whose user says something each time the agent asks; each text of `interjections` is used once."""
    events: list[Event] = []

    def hear() -> Sequence[User]:
        return interjections.pop(0) if interjections else []

    agent = Agent(
        model=model,
        tools=Toolbox(tools),
        context=Compact(),
        limits=TurnLimit(),
        sink=events.append,
        interjections=hear,
    )
    return agent, events


async def test_a_message_during_a_call_follows_the_result_of_the_call() -> None:
    model = ScriptedModel(says("", call(code="1")), says("done"))
    agent, events = open_agent_with_user([[], [User("not there"), User("here")]], model, FakeTool())
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("done", Stop.DONE)
    assert model.seen[1].messages[-2:] == (User("not there"), User("here"))
    (*_, last) = model.seen[1].sent
    assert isinstance(last, ToolResult), "a strict template sees no user message after a tool message"
    assert replay(events) == agent.state


async def test_a_message_that_arrives_with_the_answer_is_answered_too() -> None:
    model = ScriptedModel(says("42"), says("43"))
    agent, _ = open_agent_with_user([[], [User("Are you sure?")]], model)
    assert (await agent.run(SYSTEM, TASK)).answer == "43"
    assert [type(message) for message in model.seen[1].sent][-2:] == [Assistant, User]


async def test_a_task_is_undone_with_everything_that_followed() -> None:
    model = ScriptedModel(says("one"), says("", call(code="2")), says("two"), says("three"))
    agent, events = open_agent(model, FakeTool())
    await agent.run(SYSTEM, User("first"))
    before = agent.state.history.messages
    await agent.run(User("a cell ran", Kind.NOTE), User("second"))
    (_, (number, text)) = tasks = agent.tasks()
    assert [text for _, text in tasks] == ["first", "second"], "messages of rlm are not tasks"
    agent.take_back(number)
    assert (text, agent.state.history.messages) == ("second", before)
    assert replay(events) == agent.state
    await agent.run(User("third"))
    assert model.seen[-1].sent[-1] == User("third")


async def test_a_picture_is_not_part_of_the_text_of_a_task() -> None:
    agent, _ = open_agent(ScriptedModel(says("a cat"), says("no")))
    await agent.run(SYSTEM, User([{"type": "image_url", "image_url": {"url": "data:,"}}]))
    assert [text for _, text in agent.tasks()] == [""]


async def test_a_hidden_turn_leaves_the_context_and_the_users_words_stay() -> None:
    model = ScriptedModel(says("", call(code="1")), says("", call(code="2")), says("done"))
    agent, events = open_agent(model, FakeTool())
    await agent.run(SYSTEM, TASK)
    assert agent.hide(1)
    assert agent.state.history.live_turns() == [2, 3]
    assert TASK in agent.state.history.messages
    assert not agent.hide(1), "the turn is hidden"
    assert not agent.hide(OPENING), "there is no turn before the first one"
    assert [event.reason for event in events if isinstance(event, Dropped)] == ["hidden"]


async def test_the_user_may_have_the_context_compacted() -> None:
    turns = [says("", call(code=str(number))) for number in range(5)]
    model = ScriptedModel(*turns, says("done"), says("All of it."))
    agent, events = open_agent(model, FakeTool())
    await agent.run(SYSTEM, TASK)
    assert await agent.compact()
    assert "All of it." in str(agent.state.history.messages)
    assert replay(events) == agent.state


async def test_if_nothing_can_be_compacted_no_request_is_made() -> None:
    for context in (LastTurns(2), Combined(LastTurns(2), Compact()), Compact()):
        agent, _ = open_agent(ScriptedModel(), context=context)
        assert not await agent.compact()


async def test_another_model_answers_from_the_next_request_on() -> None:
    other = ScriptedModel(says("two"))
    agent, _ = open_agent(ScriptedModel(says("one")))
    await agent.run(SYSTEM, TASK)
    agent.use_model(other)
    assert (await agent.run(User("again"))).answer == "two"
