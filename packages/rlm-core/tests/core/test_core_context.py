"""The conversation is kept within the model's context."""

from __future__ import annotations

from functools import partial

import pytest
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import ASK, LONG_RESULT, SHORTENED_RESULT, SUMMARY, Combined, Compact, LastTurns
from rlm.core.events import Dropped, Event, Failed, ParametersChanged, Said, Stopped, ToolReturned
from rlm.core.history import Summary
from rlm.core.messages import Assistant, Forget, Kind, Message, Outcome, Reply, ToolResult, User
from rlm.errors import ContextTooLong, ModelError, ModelUnavailable
from rlm.text.clip import clip
from rlm_testkit.fakes import SYSTEM, TASK, FakeTool, ScriptedModel, call, open_agent, says, turn

TOO_LONG = ContextTooLong("413")
LONG_TASK = User("x" * 10_000)  # compared with it, the messages of a turn are negligible


def texts(messages: tuple[Message, ...]) -> list[str]:
    """The texts of the model in `messages`, one for each turn."""
    return [m.text for m in messages if isinstance(m, Assistant)]


def dropped(events: list[Event]) -> list[str]:
    """The reasons why messages were removed; joined messages do not count."""
    return [event.reason for event in events if isinstance(event, Dropped) and event.reason != "joined"]


def handed_over(text: str) -> User:
    return User(SUMMARY.format(text), Kind.SUMMARY)


# ---- only the newest turns


async def test_the_oldest_turns_are_dropped_whole_and_the_system_prompt_and_the_task_stay() -> None:
    model = ScriptedModel(*(turn(name) for name in "abcd"), says("end"))
    agent, events = open_agent(model, FakeTool(), context=LastTurns(2))
    await agent.run(SYSTEM, TASK)
    assert [texts(request.messages) for request in model.seen] == [[], ["a"], ["a", "b"], ["b", "c"], ["c", "d"]]
    *opening, c, ran_c, d, ran_d = model.seen[-1].messages
    assert opening == [SYSTEM, TASK]
    assert isinstance(c, Assistant)
    assert isinstance(d, Assistant)
    assert [ran_c, ran_d] == [ToolResult(m.calls[0], f'ran {{"code": "{m.text}"}}') for m in (c, d)]
    assert dropped(events) == ["max_turns_in_context"] * 2


async def test_pictures_are_dropped_with_their_turn_and_a_later_task_stays() -> None:
    show = FakeTool("ipython", Outcome("a picture", pictures=("data:1",)))
    model = ScriptedModel(turn("a"), says("one"), turn("b"), turn("c"), says("two"))
    agent, _ = open_agent(model, show, context=LastTurns(2))
    await agent.run(SYSTEM, TASK)
    more = User("And now?")
    assert agent.state.history.of_kind(Kind.NOTE)
    await agent.run(more)
    assert [m for m in model.seen[-1].messages if not isinstance(m, Assistant | ToolResult)] == [SYSTEM, TASK, more]


async def test_an_overflow_does_not_concern_the_newest_turns_alone() -> None:
    agent, _ = open_agent(ScriptedModel(turn("a"), turn("b"), TOO_LONG), FakeTool(), context=LastTurns(2))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.CONTEXT_LIMIT


# ---- a summary in time


async def test_a_prompt_at_the_threshold_is_compacted_before_the_next_request() -> None:
    replies = turn("a"), turn("b"), turn("c", prompt=500)
    model = ScriptedModel(*replies, says(" the summary "), says("end"))
    agent, events = open_agent(model, FakeTool(), context=Compact(at=500, keep=2))
    task = User("Word for word,\n  as it was. " * 50)
    result = await agent.run(SYSTEM, task)
    asked, after = model.seen[3:]
    assert asked.messages[-1] == User(ASK, Kind.ASK)
    assert texts(asked.messages) == ["a", "b", "c"]
    assert after.messages[:2] == (SYSTEM, task)
    assert after.messages[2:-1] == asked.messages[4:-1]
    assert after.messages[-1] == handed_over("the summary")
    assert (result.answer, result.spent.turns) == ("end", 4)
    assert dropped(events) == ["summary_call", "compaction"]


async def test_the_request_for_a_summary_has_the_same_tools_but_allows_none() -> None:
    tool = FakeTool()
    model = ScriptedModel(turn("a"), turn("b", prompt=500), says("s"), says("end"))
    agent, events = open_agent(model, tool, context=Compact(at=500, keep=1))
    await agent.run(SYSTEM, TASK)
    assert [(request.tools, request.tool_choice) for request in model.seen] == [
        ((tool.schema(),), choice) for choice in ("auto", "auto", "none", "auto")
    ]
    reported = [event.params for event in events if isinstance(event, ParametersChanged)]
    assert reported == [model.params, model.params | {"tool_choice": "none"}, model.params]


async def test_without_tools_there_is_no_tool_choice_to_send() -> None:
    model = ScriptedModel(says("a", finish="length"), says("b", finish="length", prompt=500), says("s"), says("end"))
    agent, events = open_agent(model, context=Compact(at=500, keep=1))
    await agent.run(SYSTEM, TASK)
    assert model.seen[2].tool_choice == "none"
    assert sum(isinstance(event, ParametersChanged) for event in events) == 1


async def test_a_prompt_is_compacted_when_it_reaches_the_threshold_and_not_before() -> None:
    agent, _ = open_agent(ScriptedModel(turn("a"), turn("b", 1_000)), FakeTool(), limits=TurnLimit(2))
    await agent.run(SYSTEM, TASK)
    tokens = agent.state.prompt_tokens
    for at, reasons in [(tokens, ["summary_call", "compaction"]), (tokens + 1, [])]:
        model = ScriptedModel(says("s"), says("end")) if reasons else ScriptedModel(says("end"))
        resumed, events = open_agent(model, context=Compact(at), state=agent.state)
        await resumed.run()
        assert dropped(events) == reasons


async def test_a_fat_result_since_the_last_count_is_part_of_the_next_prompt() -> None:
    model = ScriptedModel(turn("a", prompt=100), turn("b", prompt=120), says("s"), says("end"))
    fat = FakeTool("ipython", Outcome("x"), Outcome("x" * 5_000))
    agent, events = open_agent(model, fat, context=Compact(at=1_000, keep=1))
    await agent.run(SYSTEM, TASK)
    assert model.seen[2].messages[-1] == User(ASK, Kind.ASK)
    assert dropped(events) == ["summary_call", "compaction"]
    assert agent.state.prompt_tokens == pytest.approx(100, abs=5)


async def test_no_summary_is_requested_while_there_is_no_older_turn() -> None:
    model = ScriptedModel(turn("a", prompt=9_000), says("end"))
    agent, _ = open_agent(model, FakeTool(), context=Compact(at=500, keep=2))
    await agent.run(SYSTEM, TASK)
    assert len(model.seen) == 2


@pytest.mark.parametrize(
    "useless",
    [
        says(" \n"),
        says("cut", finish="length"),
        says("no", finish="content_filter"),
        turn("a call"),
        says('<tool_call>{"name": "ipython", "arguments": {"code": "1"}}</tool_call>'),
    ],
)
async def test_an_invalid_summary_changes_nothing_and_is_reported(useless: Reply) -> None:
    model = ScriptedModel(turn("a"), turn("b"), turn("c", prompt=500), useless, says("end"))
    agent, events = open_agent(model, FakeTool(), context=Compact(at=500, keep=1))
    await agent.run(SYSTEM, TASK)
    assert model.seen[4].messages == model.seen[3].messages[:-1]
    assert dropped(events) == ["summary_call"]
    assert [e.reason.startswith("The conversation was not compacted: ") for e in events if isinstance(e, Failed)] == [
        True
    ]


async def test_a_useless_summary_is_asked_for_again_when_the_prompt_has_grown_by_a_tenth() -> None:
    prompts = {"b": 10_000, "c": 10_700, "d": 11_500}
    b, c, d = (turn(name, prompt) for name, prompt in prompts.items())
    model = ScriptedModel(turn("a"), b, says(""), c, d, says(""), says("end"))
    agent, _ = open_agent(model, FakeTool(), context=Compact(at=5_000, keep=1))
    await agent.run(SYSTEM, LONG_TASK)
    asks = [request.messages[-1] == User(ASK, Kind.ASK) for request in model.seen]
    assert asks == [False, False, True, False, False, True, False]


async def test_a_prompt_that_stays_above_the_threshold_does_not_cost_a_summary_every_turn() -> None:
    later = (turn(name, 10_000) for name in "cde")
    model = ScriptedModel(turn("a"), turn("b", 10_000), says("s"), *later, says("end"))
    agent, events = open_agent(model, FakeTool(), context=Compact(at=500, keep=1))
    await agent.run(SYSTEM, LONG_TASK)
    assert dropped(events) == ["summary_call", "compaction"]


async def test_a_new_summary_replaces_the_old_one() -> None:
    model = ScriptedModel(
        turn("a"), turn("b", prompt=500), says("first"), turn("c", prompt=9_000), says("second"), says("end")
    )
    agent, _ = open_agent(model, FakeTool(), context=Compact(at=500, keep=1))
    await agent.run(SYSTEM, TASK)
    assert handed_over("first") in model.seen[4].messages  # the request for the new summary contains the old one
    assert [m for m in model.seen[5].messages if isinstance(m, User)] == [TASK, handed_over("second")]
    assert texts(model.seen[5].messages) == ["c"]


# ---- when the provider says that the context is too long


async def test_a_fat_result_of_the_newest_turn_is_cut_before_anything_else() -> None:
    fat = "".join(chr(33 + n % 90) for n in range(LONG_RESULT + 1))
    asked = says("", call(code="small"), call(code="fat"), call(code="last"))
    model = ScriptedModel(turn("a"), turn("b"), asked, TOO_LONG, says("end"))
    outcomes = [Outcome(text) for text in ("1", "2", "small", fat, "last")]
    agent, events = open_agent(model, FakeTool("ipython", *outcomes), context=Compact(keep=1))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("end", Stop.DONE)
    assert model.seen[4].messages[:-3] == model.seen[3].messages[:-3]
    reported = zip(asked.message.calls, ("small", clip(fat, SHORTENED_RESULT), "last"), strict=True)
    assert list(model.seen[4].messages[-3:]) == [ToolResult(*each) for each in reported]
    assert dropped(events) == ["shortened"]


async def test_what_follows_a_cut_result_keeps_its_place_and_whether_it_failed() -> None:
    asked = says("", call(code="1"), call(code="2"))
    model = ScriptedModel(asked, TOO_LONG, says("end"))
    outcomes = Outcome("x" * LONG_RESULT * 2, ok=False, pictures=("data:1",)), Outcome("2", ok=False)
    agent, events = open_agent(model, FakeTool("ipython", *outcomes))
    await agent.run(SYSTEM, TASK)
    *_, first, second, picture = model.seen[-1].messages
    assert (first, second) == (
        ToolResult(asked.message.calls[0], clip("x" * LONG_RESULT * 2, SHORTENED_RESULT), ok=False),
        ToolResult(asked.message.calls[1], "2", ok=False),
    )
    assert picture == model.seen[1].messages[-1]
    assert isinstance(picture, User)
    assert picture.kind is Kind.NOTE
    cut = [*map(type, events)].index(Dropped)
    assert [*map(type, events[cut + 1 : cut + 4])] == [ToolReturned, ToolReturned, Said]


async def test_each_fat_result_is_cut_the_fattest_first() -> None:
    model = ScriptedModel(says("", call(code="1"), call(code="2")), TOO_LONG, TOO_LONG, TOO_LONG)
    outcomes = Outcome("x" * (LONG_RESULT + 1)), Outcome("x" * (LONG_RESULT + 2))
    agent, _ = open_agent(model, FakeTool("ipython", *outcomes))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.CONTEXT_LIMIT
    sizes = [[len(m.content) > LONG_RESULT for m in r.messages if isinstance(m, ToolResult)] for r in model.seen]
    assert sizes == [[], [True, True], [True, False], [False, False]]


async def test_a_result_that_is_not_fat_is_not_cut() -> None:
    model = ScriptedModel(turn("a"), TOO_LONG)
    agent, events = open_agent(model, FakeTool("ipython", Outcome("x" * LONG_RESULT)))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.CONTEXT_LIMIT
    assert dropped(events) == []


async def test_a_context_too_long_without_a_fat_result_is_compacted() -> None:
    model = ScriptedModel(turn("a"), turn("b"), turn("c"), TOO_LONG, says("the summary"), says("end"))
    agent, events = open_agent(model, FakeTool(), context=Compact())
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("end", Stop.DONE)
    assert texts(model.seen[-1].messages) == ["b", "c"]
    assert model.seen[-1].messages[-1] == handed_over("the summary")
    assert dropped(events) == ["summary_call", "compaction"]


async def test_with_no_more_turns_than_are_kept_all_but_the_newest_are_compacted() -> None:
    model = ScriptedModel(turn("a"), turn("b"), TOO_LONG, says("the summary"), says("end"))
    agent, _ = open_agent(model, FakeTool(), context=Compact(keep=2))
    await agent.run(SYSTEM, TASK)
    assert texts(model.seen[-1].messages) == ["b"]


async def test_an_overflow_is_compacted_once_and_turns_beyond_that_are_dropped_without_a_summary() -> None:
    overflow = TOO_LONG, says("the summary")
    model = ScriptedModel(turn("a"), turn("b"), turn("c"), *overflow, TOO_LONG, turn("d"), *overflow, says("end"))
    agent, events = open_agent(model, FakeTool(), context=Compact(keep=2))
    assert (await agent.run(SYSTEM, TASK)).answer == "end"
    asked = ["".join(texts(request.messages)) for request in model.seen[3:]]
    assert asked == ["abc", "abc", "bc", "c", "cd", "cd", "d"]
    assert handed_over("the summary") in model.seen[-1].messages
    assert dropped(events) == ["summary_call", "compaction", "context_limit", "summary_call", "compaction"]


async def test_when_the_request_for_a_summary_is_too_long_the_oldest_turns_are_dropped_until_it_fits() -> None:
    model = ScriptedModel(
        *(turn(name) for name in "abcdefg"), TOO_LONG, TOO_LONG, TOO_LONG, says("the summary"), says("end")
    )
    agent, events = open_agent(model, FakeTool(), context=Compact(keep=2))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("end", Stop.DONE)
    assert ["".join(texts(request.messages)) for request in model.seen[7:]] == [
        "abcdefg",  # the turn itself
        "abcdefg",  # the request for a summary
        "cdefg",
        "defg",
        "fg",
    ]
    assert model.seen[-1].messages[-1] == handed_over("the summary")
    assert dropped(events) == ["summary_call", "context_limit"] * 2 + ["summary_call", "compaction"]


async def test_when_no_summary_ever_fits_the_newest_turn_is_tried_alone_before_the_stop() -> None:
    model = ScriptedModel(turn("a"), turn("b"), turn("c"), TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG)
    agent, events = open_agent(model, FakeTool(), context=Compact(keep=2))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("c", Stop.CONTEXT_LIMIT)
    assert model.script == []
    assert ["".join(texts(request.messages)) for request in model.seen[3:]] == ["abc", "abc", "bc", "c"]
    assert model.seen[-1].messages[:2] == (SYSTEM, TASK)
    assert agent.state.history.asides() == ()
    assert isinstance(events[-1], Stopped)


async def test_an_overflow_with_a_useless_summary_is_a_stop() -> None:
    model = ScriptedModel(turn("a"), turn("b"), TOO_LONG, says("", finish="length"))
    agent, events = open_agent(model, FakeTool(), context=Compact(keep=1))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.CONTEXT_LIMIT
    assert texts(agent.state.history.messages) == ["a", "b"]
    assert dropped(events) == ["summary_call"]


async def test_a_summary_that_is_refused_is_reported_and_the_overflow_stays_a_stop() -> None:
    model = ScriptedModel(turn("a"), turn("b"), TOO_LONG, ModelError("400 Bad Request: no"))
    agent, events = open_agent(model, FakeTool(), context=Compact(keep=1))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.CONTEXT_LIMIT
    assert [event.reason for event in events if isinstance(event, Failed)] == [
        "The conversation was not compacted: 400 Bad Request: no"
    ]


async def test_a_temporary_failure_of_the_provider_ends_the_run_as_such_even_during_a_compaction() -> None:
    model = ScriptedModel(turn("a"), turn("b"), TOO_LONG, ModelUnavailable("503"))
    agent, _ = open_agent(model, FakeTool(), context=Compact(keep=1))
    with pytest.raises(ModelUnavailable, match="503"):
        await agent.run(SYSTEM, TASK)


async def test_compacting_ahead_of_time_may_overflow_and_the_fat_result_is_cut_then() -> None:
    model = ScriptedModel(turn("a"), turn("b"), TOO_LONG, TOO_LONG, says("end"))
    outcomes = Outcome("1"), Outcome("x" * LONG_RESULT * 2)
    agent, events = open_agent(model, FakeTool("ipython", *outcomes), context=Compact(at=500, keep=1))
    result = await agent.run(SYSTEM, TASK)
    assert (result.answer, result.stop) == ("end", Stop.DONE)
    assert dropped(events) == ["summary_call", "shortened"]
    assert texts(model.seen[-1].messages) == ["a", "b"]


# ---- both policies


async def test_two_policies_both_apply() -> None:
    model = ScriptedModel(turn("a"), turn("b"), turn("c"), TOO_LONG, says("the summary"), says("end"))
    agent, events = open_agent(model, FakeTool(), context=Combined(LastTurns(2), Compact(keep=1)))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.DONE
    assert dropped(events) == ["max_turns_in_context", "summary_call", "compaction"]
    assert texts(model.seen[-1].messages) == ["c"]


async def test_two_policies_that_cannot_shorten_end_the_run() -> None:
    agent, _ = open_agent(ScriptedModel(TOO_LONG), context=Combined(LastTurns(2), LastTurns(3)))
    assert (await agent.run(SYSTEM, TASK)).stop is Stop.CONTEXT_LIMIT


# ---- a tool that removes messages


def forgetting(turns: int, summary: str) -> Outcome:
    return Outcome(f"forgot {turns}", forget=Forget(turns, summary))


def summarise(name: str) -> Reply:
    return says(name, call("summarize"))


async def test_a_tool_replaces_the_oldest_turns_by_a_summary() -> None:
    tool = FakeTool("summarize", forgetting(2, "a and b"), nothing_="string")
    model = ScriptedModel(turn("a"), turn("b"), turn("c"), summarise("d"), says("end"))
    agent, events = open_agent(model, FakeTool(), tool)
    await agent.run(SYSTEM, TASK)
    assert texts(model.seen[-1].messages) == ["c", "d"]
    assert model.seen[-1].messages[:2] == (SYSTEM, TASK)
    assert agent.state.history.summaries == (Summary(1, 2, "a and b"),)
    assert dropped(events) == ["summarize"]


async def test_the_turns_of_summaries_are_counted_from_the_start_of_the_session() -> None:
    outcomes = forgetting(1, "a"), forgetting(3, "b to d"), forgetting(1, "e")
    model = ScriptedModel(
        turn("a"), summarise("b"), turn("c"), turn("d"), summarise("e"), summarise("f"), turn("g"), says("end")
    )
    agent, _ = open_agent(model, FakeTool(), FakeTool("summarize", *outcomes, nothing_="string"))
    await agent.run(SYSTEM, TASK)
    assert [str(s) for s in agent.state.history.summaries] == ["[turns 1-1] a", "[turns 2-4] b to d", "[turns 5-5] e"]
    assert texts(model.seen[-1].messages) == ["f", "g"]


async def test_the_second_call_in_a_turn_counts_what_the_first_left() -> None:
    tool = FakeTool("summarize", forgetting(1, "a"), forgetting(2, "b and c"), nothing_="string")
    model = ScriptedModel(turn("a"), turn("b"), turn("c"), says("d", call("summarize"), call("summarize")), says("end"))
    agent, _ = open_agent(model, FakeTool(), tool)
    await agent.run(SYSTEM, TASK)
    assert [str(s) for s in agent.state.history.summaries] == ["[turns 1-1] a", "[turns 2-3] b and c"]
    assert texts(model.seen[-1].messages) == ["d"]


@pytest.mark.parametrize("turns", [2, 99])
async def test_the_turn_that_asks_to_forget_is_never_forgotten(turns: int) -> None:
    model = ScriptedModel(turn("a"), summarise("b"), says("end"))
    agent, _ = open_agent(model, FakeTool(), FakeTool("summarize", forgetting(turns, "all"), nothing_="string"))
    await agent.run(SYSTEM, TASK)
    assert texts(model.seen[-1].messages) == ["b"]
    assert agent.state.history.summaries == (Summary(1, 1, "all"),)


async def test_with_no_turn_to_forget_nothing_is_dropped() -> None:
    model = ScriptedModel(summarise("a"), says("end"))
    agent, events = open_agent(model, FakeTool("summarize", forgetting(1, "nothing"), nothing_="string"))
    await agent.run(SYSTEM, TASK)
    assert agent.state.history.summaries == ()
    assert dropped(events) == []


async def test_by_default_a_prompt_is_compacted_at_four_fifths_of_the_window() -> None:
    agent, _ = open_agent(ScriptedModel(turn("a"), turn("b", 8_000)), FakeTool(), limits=TurnLimit(2))
    await agent.run(SYSTEM, TASK)
    window = agent.state.prompt_tokens * 5 // 4
    for known, reasons in [(window, ["summary_call", "compaction"]), (window + 2, []), (None, [])]:
        model = ScriptedModel(says("s"), says("end")) if reasons else ScriptedModel(says("end"))
        context = Compact(window=partial(next, iter([known, known])))
        resumed, events = open_agent(model, context=context, state=agent.state)
        await resumed.run()
        assert dropped(events) == reasons


async def test_the_window_is_not_asked_for_while_the_prompt_fits_any() -> None:
    agent, _ = open_agent(
        ScriptedModel(turn("a"), says("end")), FakeTool(), context=Compact(window=partial(next, iter(())))
    )
    await agent.run(SYSTEM, TASK)
    assert "end" == agent.state.answer
