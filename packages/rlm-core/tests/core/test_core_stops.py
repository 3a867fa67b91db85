"""How a run ends, and what it leaves in the journal."""

from __future__ import annotations

import pytest
from rlm.core.agent import GO_ON
from rlm.core.budget import Spent, Stop, TurnLimit
from rlm.core.context import ASK, Compact
from rlm.core.conversation import UNFINISHED
from rlm.core.events import Dropped, Event, Said, Stopped
from rlm.core.messages import Kind, Outcome, Reply, ToolResult, Usage, User
from rlm.core.ports import Limits
from rlm.core.state import ConversationState, replay
from rlm.errors import ContentFiltered, ContextTooLong, CredentialsError, KernelError, ModelError, ModelUnavailable
from rlm_testkit.fakes import (
    SYSTEM,
    TASK,
    FakeTool,
    ScriptedModel,
    Stuck,
    TokenLimit,
    call,
    cancel,
    open_agent,
    says,
)


def ending(events: list[Event]) -> tuple[Stop, str, str]:
    """Return how the run ended. Check that the end is reported once, as the last event."""
    (stopped,) = (event for event in events if isinstance(event, Stopped))
    assert events[-1] is stopped
    return stopped.stop, stopped.answer, stopped.error


def results(state: ConversationState) -> list[tuple[str, bool]]:
    return [(m.content, m.ok) for m in state.history.messages if isinstance(m, ToolResult)]


# ---- limits


async def test_the_turn_limit_ends_the_run_with_the_newest_text_and_no_call_unanswered() -> None:
    model = ScriptedModel(says("first", call(code="1")), says("second", call(code="2")), says("", call(code="3")))
    agent, events = open_agent(model, FakeTool(), limits=TurnLimit(3))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.spent.turns) == ("second", Stop.MAX_TURNS, 3)
    assert len(results(agent.state)) == 3
    assert ending(events) == (Stop.MAX_TURNS, "second", "")


async def test_an_answer_in_the_last_turn_allowed_is_an_answer() -> None:
    agent, _ = open_agent(ScriptedModel(says("42")), limits=TurnLimit(1))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.DONE


async def test_a_limit_reached_before_the_first_request_asks_nothing() -> None:
    model = ScriptedModel()
    agent, events = open_agent(model, limits=TurnLimit(0))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, model.seen) == ("", Stop.MAX_TURNS, [])
    assert ending(events) == (Stop.MAX_TURNS, "", "")


async def test_a_token_limit_is_shared_and_what_others_spend_counts() -> None:
    shared = TokenLimit(100)
    one, _ = open_agent(ScriptedModel(says("one", completion=70)), limits=shared.of("one"))
    two, _ = open_agent(ScriptedModel(says("two", call(code="1"), completion=30)), FakeTool(), limits=shared.of("two"))
    assert (await one.run(SYSTEM, TASK)).stop is Stop.DONE
    shared.reached("one", one.state.spent)
    result = await two.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.spent.turns) == ("two", Stop.TOKEN_BUDGET, 1)


@pytest.mark.parametrize("why", [Stop.AGENT_BUDGET, Stop.DEPTH_LIMIT])
async def test_whatever_the_limits_say_is_the_stop_reason(why: Stop) -> None:
    class Always:
        def reached(self, spent: Spent) -> Stop | None:
            return why

    agent, events = open_agent(ScriptedModel(), limits=Always())
    assert (await agent.run(SYSTEM, TASK)).stop is why
    assert ending(events) == (why, "", "")


async def test_a_summary_for_a_compaction_is_not_a_turn_but_its_tokens_count() -> None:
    fat = says("a", call(code="1"), prompt=1_000)
    model = ScriptedModel(says("", call(code="0")), fat, says("the summary", completion=7), says("end"))
    agent, _ = open_agent(model, FakeTool(), context=Compact(at=500, keep=1), limits=TurnLimit(3))
    result = await agent.run(SYSTEM, TASK)
    assert (result.stop, result.spent.turns) == (Stop.DONE, 3)
    assert result.spent.usage == Usage(100 + 1_000 + 100 + 100, 10 + 10 + 7 + 10)


# ---- texts that are not an answer


async def test_a_cut_off_text_is_continued_and_the_answer_is_the_joined_parts() -> None:
    parts = says("one, ", finish="length"), says("two, ", finish="length"), says("three")
    model = ScriptedModel(*parts)
    agent, events = open_agent(model)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.spent.turns) == ("one, two, three", Stop.DONE, 3)
    assert not agent.state.cut
    assert model.seen[2].messages[-1] == User(GO_ON, Kind.NOTE)
    assert ending(events) == (Stop.DONE, "one, two, three", "")


@pytest.mark.parametrize("limits", [TurnLimit(2), TokenLimit(20).of("me")])
async def test_a_text_that_cannot_be_continued_within_the_limits_is_a_partial_answer(limits: Limits) -> None:
    model = ScriptedModel(says("one, ", finish="length"), says("two, ", finish="length"))
    agent, events = open_agent(model, limits=limits)
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("one, two, ", Stop.LENGTH)
    assert ending(events) == (Stop.LENGTH, "one, two, ", "The provider ended the message: length.")
    assert len([event for event in events if event == Said(User(GO_ON, Kind.NOTE))]) == 1, (
        "the model is asked to continue only if the limits leave room"
    )


@pytest.mark.parametrize(
    ("ends", "stop"),
    [(says("two"), Stop.DONE), (says("two", finish="content_filter"), Stop.CONTENT_FILTER)],
)
async def test_what_ends_a_continued_text_is_the_stop_reason(ends: Reply, stop: Stop) -> None:
    agent, _ = open_agent(ScriptedModel(says("one, ", finish="length"), ends), limits=TurnLimit(2))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("one, two", stop)


async def test_a_limit_reached_by_a_call_after_a_cut_off_text_is_the_stop_reason() -> None:
    model = ScriptedModel(says("one, ", finish="length"), says("two", call(code="1"), finish="length"))
    agent, _ = open_agent(model, FakeTool(), limits=TurnLimit(2))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.MAX_TURNS


async def test_a_cut_off_text_that_the_context_has_no_room_to_continue_says_so() -> None:
    agent, _ = open_agent(ScriptedModel(says("one, ", finish="length"), ContextTooLong("413")))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("one, ", Stop.CONTEXT_LIMIT)


async def test_the_parts_of_a_text_are_not_joined_to_what_follows_a_call() -> None:
    model = ScriptedModel(says("one, ", finish="length"), says("two", call(code="1")), says("done"))
    agent, _ = open_agent(model, FakeTool())
    assert (await agent.run(SYSTEM, TASK)).answer == "done"


async def test_the_text_beside_a_cut_off_call_is_not_joined_to_the_answer() -> None:
    model = ScriptedModel(says("I will", call(code="1"), finish="length"), says("done"))
    agent, _ = open_agent(model, FakeTool())
    assert (await agent.run(SYSTEM, TASK)).answer == "done"


@pytest.mark.parametrize("nothing", ["", " \n"])
async def test_nothing_cut_off_at_the_length_limit_ends_the_run(nothing: str) -> None:
    model = ScriptedModel(says("so far", call(code="1")), says(nothing, finish="length"))
    agent, events = open_agent(model, FakeTool())
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("so far", Stop.LENGTH)
    assert not agent.state.cut
    assert ending(events) == (Stop.LENGTH, "so far", "The provider ended the message: length.")


@pytest.mark.parametrize(("text", "answer"), [("", "so far"), ("Well,", "Well,")])
async def test_a_filtered_text_is_not_an_answer(text: str, answer: str) -> None:
    model = ScriptedModel(says("so far", call(code="1")), says(text, finish="content_filter"))
    agent, events = open_agent(model, FakeTool())
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == (answer, Stop.CONTENT_FILTER)
    assert ending(events) == (Stop.CONTENT_FILTER, answer, "The provider ended the message: content_filter.")


@pytest.mark.parametrize("nothing", ["", " \n"])
async def test_an_empty_text_is_never_an_answer(nothing: str) -> None:
    agent, events = open_agent(ScriptedModel(says(nothing)))
    with pytest.raises(ModelError, match="empty message"):
        await agent.run(SYSTEM, TASK)
    stop, answer, error = ending(events)
    assert (stop, answer) == (Stop.ERROR, "")
    assert "empty message" in error


async def test_blanks_beside_a_call_do_not_hide_the_newest_text() -> None:
    model = ScriptedModel(says("found it", call(code="1")), says("\n\n", call(code="2")))
    agent, _ = open_agent(model, FakeTool(), limits=TurnLimit(2))
    assert (await agent.run(SYSTEM, TASK)).answer == "found it"


async def test_the_answer_to_one_task_is_not_the_partial_answer_to_the_next() -> None:
    agent, _ = open_agent(ScriptedModel(says("one"), says("", call(code="1"))), FakeTool(), limits=TurnLimit(2))
    assert (await agent.run(SYSTEM, TASK)).answer == "one"
    assert (await agent.run(User("And now?"))).answer == ""


async def test_a_text_cut_off_at_a_limit_is_not_joined_to_the_answer_to_the_next_task() -> None:
    agent, _ = open_agent(ScriptedModel(says("one, ", finish="length")), limits=TurnLimit(1))
    await agent.run(SYSTEM, TASK)
    resumed, _ = open_agent(ScriptedModel(says("new")), state=agent.state)
    assert (await resumed.run(User("Something else."))).answer == "new"


async def test_a_resumed_run_without_a_new_task_continues_the_cut_off_text() -> None:
    agent, _ = open_agent(ScriptedModel(says("one, ", finish="length")), limits=TurnLimit(1))
    await agent.run(SYSTEM, TASK)
    resumed, _ = open_agent(ScriptedModel(says("two")), state=agent.state)
    assert (await resumed.run()).answer == "one, two"


# ---- cancellation and errors


async def test_cancelling_a_tool_settles_every_call_and_reports_the_end_last() -> None:
    stuck = Stuck()
    reply = says("so far", call(code="1"), call(code="2"), call(code="3"))
    agent, events = open_agent(ScriptedModel(reply), FakeTool("ipython", Outcome("one"), stuck))
    await cancel(agent, stuck)
    assert results(agent.state) == [("one", True), (UNFINISHED, False), (UNFINISHED, False)]
    assert [m.call for m in agent.state.history.messages if isinstance(m, ToolResult)] == list(reply.message.calls)
    assert ending(events) == (Stop.CANCELLED, "so far", "")


async def test_cancelling_a_request_reports_the_end_last() -> None:
    stuck = Stuck()
    model = ScriptedModel(says("so far", call(code="1")), stuck)
    agent, events = open_agent(model, FakeTool("ipython", Outcome("one")))
    await cancel(agent, stuck)
    assert results(agent.state) == [("one", True)]
    assert ending(events) == (Stop.CANCELLED, "so far", "")


async def test_cancelling_the_request_for_a_summary_takes_it_back() -> None:
    stuck = Stuck()
    model = ScriptedModel(says("", call(code="0")), says("", call(code="1"), prompt=1_000), stuck)
    agent, events = open_agent(model, FakeTool(), context=Compact(at=500, keep=1))
    await cancel(agent, stuck)
    *before, ask = model.seen[-1].messages
    assert ask == User(ASK, Kind.ASK)
    assert agent.state.history.messages == tuple(before)
    assert isinstance(model.seen[-1].sent[-1], ToolResult), "the request for a summary was joined to it"
    assert ending(events) == (Stop.CANCELLED, "", "")


@pytest.mark.parametrize("error", [KernelError("no kernel"), RuntimeError("a bug"), KeyboardInterrupt()])
async def test_an_error_of_a_tool_settles_every_call_and_is_raised(error: BaseException) -> None:
    model = ScriptedModel(says("so far", call(code="1"), call(code="2")))
    agent, events = open_agent(model, FakeTool("ipython", error))
    with pytest.raises(type(error)):
        await agent.run(SYSTEM, TASK)
    assert results(agent.state) == [(UNFINISHED, False)] * 2
    assert ending(events) == (Stop.ERROR, "so far", str(error) or "KeyboardInterrupt")


@pytest.mark.parametrize("error", [CredentialsError("bad key"), ModelUnavailable("down"), ModelError("no such model")])
async def test_an_error_of_the_model_is_raised_after_the_end_is_reported(error: Exception) -> None:
    agent, events = open_agent(ScriptedModel(says("so far", call(code="1")), error), FakeTool())
    with pytest.raises(type(error), match=str(error)):
        await agent.run(SYSTEM, TASK)
    assert ending(events) == (Stop.ERROR, "so far", str(error))


async def test_a_context_that_nothing_can_shorten_is_a_stop_and_no_answer() -> None:
    agent, events = open_agent(ScriptedModel(ContextTooLong("413")))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("", Stop.CONTEXT_LIMIT)
    assert ending(events) == (Stop.CONTEXT_LIMIT, "", "413")
    assert result.words == "413"


async def test_a_conversation_that_a_filter_refuses_is_a_stop_with_the_providers_text() -> None:
    agent, events = open_agent(ScriptedModel(says("so far", call(code="1")), ContentFiltered("400: no")), FakeTool())
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop, result.words) == ("so far", Stop.CONTENT_FILTER, "400: no")
    assert ending(events) == (Stop.CONTENT_FILTER, "so far", "400: no")


# ---- resuming a killed run


async def test_a_killed_run_is_settled_by_events_before_the_next_begins() -> None:
    stuck = Stuck()
    reply = says("", call(code="1"), call(code="2"))
    killed, before = open_agent(ScriptedModel(reply), FakeTool("ipython", Outcome("one"), stuck))
    await cancel(killed, stuck)
    journal = before[:-2]  # the run was killed before it wrote the settling events and the end
    model = ScriptedModel(says("done"))
    agent, after = open_agent(model, state=replay(journal))
    await agent.run(User("Go on."))
    *_, first, second, task = model.seen[0].messages
    assert (first, second) == (
        ToolResult(reply.message.calls[0], "one"),
        ToolResult(reply.message.calls[1], UNFINISHED, ok=False),
    )
    assert task == User("Go on.")
    assert replay([*journal, *after]) == agent.state


async def test_a_request_for_a_summary_that_was_pending_is_taken_back_on_resume() -> None:
    agent, events = open_agent(
        ScriptedModel(says("done")), state=replay([Said(SYSTEM), Said(TASK), Said(User(ASK, Kind.ASK))])
    )
    await agent.run()
    assert events[0] == Dropped((2,), "summary_call")
    assert agent.state.history.of_kind(Kind.ASK) == ()
