"""An answer that a tool returns, and answers that must have a certain form."""

from __future__ import annotations

from rlm.core.agent import NOT_RUN, Agent
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import Compact
from rlm.core.events import Answered, Event
from rlm.core.messages import Outcome, Reply, ToolResult, User
from rlm.core.state import replay
from rlm.core.toolbox import Toolbox
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, call, says


def digits(text: str) -> str:
    """Check that the answer is a number."""
    if found := "".join(filter(str.isdigit, text)):
        return found
    raise ValueError("no digit")


def agent_with(model: ScriptedModel, *, tool: FakeTool | None = None, turns: int = 30) -> tuple[Agent, list[Event]]:
    events: list[Event] = []
    tools = Toolbox([tool] if tool else [])
    agent = Agent(
        model=model, tools=tools, context=Compact(), limits=TurnLimit(turns), sink=events.append, check=digits
    )
    return agent, events


async def test_a_call_with_the_answer_ends_the_run_and_later_calls_are_not_run() -> None:
    model = ScriptedModel(says("I have it", call(code="1"), call(code="2"), call(code="3")), says("4"))
    outcomes = [Outcome("one"), Outcome("two", answer="42")]
    agent, events = agent_with(model, tool=FakeTool("ipython", *outcomes))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.spent.turns) == ("42", Stop.DONE, 1)
    results = [m.content for m in agent.state.history.messages if isinstance(m, ToolResult)]
    assert results == ["one", "two", NOT_RUN]
    assert replay(events) == agent.state
    again = await agent.run(User("and now?"))
    assert (again.answer, agent.state.answer) == ("4", "4"), "the next task has its own answer"


async def test_the_model_learns_what_is_wrong_with_its_answer_and_corrects_it() -> None:
    model = ScriptedModel(says("none"), says("it is 42"))
    agent, events = agent_with(model)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("42", Stop.DONE)
    (*_, note) = model.seen[1].messages
    assert isinstance(note, User)
    assert note.content == "This is not the answer that was asked for: no digit. Answer again."
    assert Answered("42") in events
    assert replay(events) == agent.state


async def test_a_valid_answer_needs_no_event() -> None:
    agent, events = agent_with(ScriptedModel(says("42")))
    assert (await agent.run(SYSTEM, TASK)).answer == "42"
    assert not [event for event in events if isinstance(event, Answered)]


async def test_after_four_corrections_the_run_stops_with_the_last_error() -> None:
    wrong: list[Reply] = [says(word) for word in ("a", "b", "c", "d", "e")]
    agent, _ = agent_with(ScriptedModel(*wrong, says("1"), says("wrong"), says("2")))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.words, result.spent.turns) == ("", Stop.SCHEMA, "no digit", 5)
    assert (await agent.run(User("again"))).answer == "1"
    assert (await agent.run(User("again"))).answer == "2", "each task has its own corrections"


async def test_at_a_limit_the_answer_is_valid_or_missing() -> None:
    model = ScriptedModel(says("none"), says("it is 4", call(code="1")), says("no", call(code="1")))
    agent, events = agent_with(model, tool=FakeTool(), turns=2)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("4", Stop.MAX_TURNS)
    agent, events = agent_with(model, tool=FakeTool(), turns=1)
    assert (await agent.run(SYSTEM, TASK)).answer == ""
    assert replay(events) == agent.state
