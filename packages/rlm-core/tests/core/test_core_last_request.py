"""At a limit, one last request without tools asks for an answer from the work so far."""

from __future__ import annotations

import asyncio
import time

import pytest
from rlm.core.agent import GO_ON, NO_MORE_CALLS, TIME_IS_OVER
from rlm.core.budget import Stop, TurnLimit
from rlm.core.events import Event, Failed, LimitReached, Stopped
from rlm.core.messages import Kind, Reply, System, ToolResult, User
from rlm.core.state import replay
from rlm.errors import ContextTooLong, CredentialsError, ModelError
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, Stuck, TokenLimit, call, cancel, open_agent, says

ALL = frozenset({Stop.MAX_TURNS, Stop.TOKEN_BUDGET, Stop.TIMEOUT, Stop.LENGTH})


def results(events: list[Event]) -> list[str]:
    return [message.content for message in replay(events).history.messages if isinstance(message, ToolResult)]


@pytest.mark.parametrize(
    ("limits", "stop"), [(TurnLimit(1), Stop.MAX_TURNS), (TokenLimit(10).of("me"), Stop.TOKEN_BUDGET)]
)
async def test_the_answer_is_the_reply_to_it_and_the_stop_is_the_limit(limits: TurnLimit, stop: Stop) -> None:
    model = ScriptedModel(says("Let me look.", call(code="1")), says("about 42"))
    agent, events = open_agent(model, FakeTool(), limits=limits, asks_at=ALL)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.spent.turns) == ("about 42", stop, 2)
    first, last = model.seen
    assert (first.tool_choice, last.tool_choice, last.tools) == ("auto", "none", first.tools), (
        "the prompt must be rendered the same"
    )
    asked = last.messages[-1]
    assert isinstance(asked, User)
    assert (asked.kind, f"({stop})" in str(asked.content)) == (Kind.NOTE, True)
    assert isinstance(last.sent[-1], ToolResult), (
        "joined to the result: strict templates accept no user message after it"
    )
    assert [event for event in events if isinstance(event, LimitReached)] == [LimitReached(stop)]
    assert replay(events) == agent.state


@pytest.mark.parametrize("stop", [Stop.CONTEXT_LIMIT, Stop.CONTENT_FILTER])
async def test_no_request_follows_if_it_would_be_refused_too(stop: Stop) -> None:
    refused = ContextTooLong("413") if stop is Stop.CONTEXT_LIMIT else says("so f", finish="content_filter")
    model = ScriptedModel(says("Let me look.", call(code="1")), refused)
    agent, _ = open_agent(model, FakeTool(), asks_at=ALL)
    assert (await agent.run(SYSTEM, TASK)).stop is stop


async def test_an_agent_without_a_task_has_no_answer() -> None:
    model = ScriptedModel(says("Let me look.", call(code="1")))
    agent, _ = open_agent(model, FakeTool(), limits=TurnLimit(1))
    await agent.run(SYSTEM, TASK)
    again, _ = open_agent(ScriptedModel(), limits=TurnLimit(1), asks_at=ALL, state=agent.state)
    assert (await again.run(TASK)).stop is Stop.MAX_TURNS


@pytest.mark.parametrize("error", [ModelError("no"), CredentialsError("no"), ContextTooLong("413")])
async def test_if_the_request_fails_the_newest_text_stays_and_the_reason_is_reported(error: Exception) -> None:
    model = ScriptedModel(says("So far.", call(code="1")), error)
    agent, events = open_agent(model, FakeTool(), limits=TurnLimit(1), asks_at=ALL)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("So far.", Stop.MAX_TURNS)
    assert next(event for event in events if isinstance(event, Failed)).reason.endswith(f"limit: {error}")
    model.script = [says("done")]
    agent, _ = open_agent(model, FakeTool(), state=agent.state)
    assert (await agent.run(User("go on"))).answer == "done", "the request that failed does not block the next task"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (says("", call(code="2")), "So far."),
        (says("Nearly.", call(code="2"), call(code="3")), "Nearly."),
        (says('{"name": "ipython", "arguments": {"code": "2"}}'), "So far."),
        (says("", finish="length"), "So far."),
        (says("so f", finish="content_filter"), "so f"),
    ],
)
async def test_calls_in_the_reply_are_not_run_and_each_has_its_result(reply: Reply, answer: str) -> None:
    tool = FakeTool()
    agent, events = open_agent(
        ScriptedModel(says("So far.", call(code="1")), reply), tool, limits=TurnLimit(1), asks_at=ALL
    )
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == (answer, Stop.MAX_TURNS)
    assert tool.calls == [{"code": "1"}]
    assert results(events)[1:] == [NO_MORE_CALLS] * len(reply.message.calls)
    assert not agent.state.history.unanswered()


@pytest.mark.parametrize(("text", "answer"), [("[1]", "1"), ("perhaps one", "")])
async def test_an_answer_of_the_wrong_form_is_not_an_answer_there_either(text: str, answer: str) -> None:
    def one(text: str) -> str:
        if "1" not in text:
            raise ValueError("it is not 1")
        return "1"

    model = ScriptedModel(says("So far.", call(code="1")), says(text))
    agent, _ = open_agent(model, FakeTool(), limits=TurnLimit(1), asks_at=ALL, check=one)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == (answer, Stop.MAX_TURNS)


async def test_a_text_that_was_cut_off_is_completed() -> None:
    model = ScriptedModel(says("one, ", finish="length"), says("two"))
    agent, _ = open_agent(model, limits=TurnLimit(1), asks_at=ALL)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("one, two", Stop.MAX_TURNS)
    assert GO_ON in str(model.seen[1].messages[-1])


async def test_after_a_message_with_nothing_but_reasoning_the_answer_is_requested() -> None:
    model = ScriptedModel(says("", finish="length"), says("42"))
    agent, events = open_agent(model, asks_at=ALL)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("42", Stop.LENGTH)
    assert all(isinstance(message, System | User) for message in model.seen[1].sent), (
        "providers do not accept an empty message back"
    )
    assert replay(events) == agent.state


async def test_an_interrupted_last_request_can_be_resumed() -> None:
    stuck = Stuck()
    agent, events = open_agent(
        ScriptedModel(says("So far.", call(code="1")), stuck), FakeTool(), limits=TurnLimit(1), asks_at=ALL
    )
    await cancel(agent, stuck)
    assert isinstance(events[-1], Stopped)
    assert events[-1].stop is Stop.CANCELLED
    again, _ = open_agent(ScriptedModel(says("done")), FakeTool(), state=replay(events))
    assert (await again.run(User("go on"))).answer == "done"


# ---- the time


class DeadlineWhenStuck:
    """A deadline that passes when the tool is stuck."""

    def __init__(self, stuck: Stuck) -> None:
        self._stuck = stuck

    def __call__(self) -> float | None:
        return asyncio.get_running_loop().time() + (0 if self._stuck.begun.is_set() else 0.05)


async def test_after_the_deadline_no_tool_runs_and_the_last_request_is_sent() -> None:
    stuck = Stuck()
    tool = FakeTool("ipython", stuck)
    model = ScriptedModel(says("So far.", call(code="1"), call(code="2")), says("about 42"))
    agent, events = open_agent(model, tool, asks_at=ALL, deadline=DeadlineWhenStuck(stuck))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("about 42", Stop.TIMEOUT)
    assert results(events)[0] == TIME_IS_OVER
    assert model.seen[1].tool_choice == "none"


async def test_a_reply_that_comes_after_the_deadline_may_be_the_answer() -> None:
    agent, _ = open_agent(ScriptedModel(says("42")), asks_at=ALL, deadline=DeadlineAfterFirstCall())
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.DONE


async def test_a_task_that_begins_after_the_deadline_sends_no_request() -> None:
    model = ScriptedModel()
    agent, _ = open_agent(model, asks_at=ALL, deadline=lambda: 0.0)
    result = await agent.run(SYSTEM, TASK)
    assert (result.stop, result.answer, model.seen) == (Stop.TIMEOUT, "", [])


class DeadlineAfterFirstCall:
    """A deadline that is in the future at the first call, and has passed at every later one."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> float | None:
        self._asked, asked = True, self._asked
        return asyncio.get_running_loop().time() + (-1 if asked else 1)


async def test_a_timeout_of_the_tool_itself_is_not_the_deadline() -> None:
    tool = FakeTool("ipython", TimeoutError("mine"))
    agent, _ = open_agent(ScriptedModel(says("", call(code="1"))), tool, deadline=lambda: time.monotonic() + 60)
    with pytest.raises(TimeoutError, match="mine"):
        await agent.run(SYSTEM, TASK)
