"""Laws that hold for every conversation, regardless of what the model, the tools and the provider do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rlm.core.agent import Agent, AgentResult
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import LONG_RESULT, Combined, Compact, LastTurns
from rlm.core.conversation import Conversation
from rlm.core.events import (
    Adapted,
    CallEnded,
    CallStarted,
    Dropped,
    Event,
    ParametersChanged,
    Replied,
    RequestStarted,
    Said,
    Stopped,
    ToolReturned,
)
from rlm.core.history import History
from rlm.core.messages import (
    Forget,
    Kind,
    Message,
    Outcome,
    Reply,
    Schema,
    System,
    ToolCall,
    ToolResult,
    User,
    size,
)
from rlm.core.ports import Context, Limits, ToolChoice
from rlm.core.state import ConversationState, replay
from rlm.errors import ContextTooLong, ModelError, ModelUnavailable
from rlm_testkit.fakes import (
    SYSTEM,
    FakeTool,
    ScriptedModel,
    Stuck,
    TokenLimit,
    apart,
    call,
    open_agent,
    raw_call,
    says,
)
from rlm_testkit.journals import acceptable

ModelStep = Reply | BaseException | Stuck
ToolStep = Outcome | BaseException | Stuck
Step = TypeVar("Step")

# ---- any conversation

# Strategies draw functions that create steps, because the ids of calls must differ and a `Stuck` can be used once.


def turn(*calls: Callable[[], ToolCall], text: str = "", prompt: int = 100) -> Callable[[], Reply]:
    return lambda: says(text, *(make() for make in calls), prompt=prompt)


CODE = partial(call, "ipython", code="1")
FORGET = partial(call, "summarize")
WRONG = [partial(call, "nope"), partial(raw_call, "ipython", "null"), partial(raw_call, "ipython", "{")]
TURNS: list[Callable[[], ModelStep]] = [
    turn(CODE),
    turn(CODE, text="Let me see.", prompt=0),
    turn(CODE, CODE, prompt=900),
    turn(CODE, CODE, CODE, text="And so on.", prompt=3_000),
    turn(FORGET, CODE, FORGET, prompt=1_500),
    turn(*WRONG, prompt=2_000),
]
ENDS: list[Callable[[], ModelStep]] = [
    partial(says, "an answer"),
    partial(says, "cut", finish="length"),
    partial(says, "half of it", finish="length", prompt=800),
    partial(says, "", finish="length"),
    partial(says, "no", finish="content_filter"),
    partial(says, " "),
]
FAILURES: list[Callable[[], ModelStep]] = [partial(ModelUnavailable, "down"), Stuck]
OVERFLOW: Callable[[], ModelStep] = partial(ContextTooLong, "413")
SUMMARIES: list[Callable[[], ModelStep]] = [
    *(partial(says, "a summary") for _ in range(4)),
    partial(says, "cut", finish="length"),
    turn(CODE),
]

NOTHING, SHORT, LONG, FAT_ONE = (partial(Outcome, text) for text in ("", "short", "x" * 700, "y" * (LONG_RESULT + 1)))
FAILED = partial(Outcome, "Traceback", ok=False)
PICTURES = partial(Outcome, "pictures", pictures=("data:1", "data:2"))
OUTCOMES: list[Callable[[], ToolStep]] = [
    *(NOTHING, SHORT, LONG, FAT_ONE, FAT_ONE, PICTURES, FAILED) * 4,
    partial(RuntimeError, "a bug"),
    Stuck,
]


def lists_of(makers: Sequence[Callable[[], Step]], least: int, most: int) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.sampled_from(makers), min_size=least, max_size=most).map(lambda some: [make() for make in some])


scripts = st.lists(lists_of([*TURNS * 5, *ENDS, *[OVERFLOW] * 4, *FAILURES], 3, 12), min_size=3, max_size=3)
summaries = lists_of([*SUMMARIES, OVERFLOW, OVERFLOW, Stuck], 5, 10)
outcomes = lists_of(OUTCOMES, 5, 20)
wishes = st.lists(st.builds(lambda oldest: Outcome("forgot", forget=Forget(oldest, "notes")), st.integers(1, 3)))
compacts = st.builds(Compact, st.sampled_from([None, 1, 500, 2_000]), st.integers(1, 3))
newest = st.builds(LastTurns, st.integers(2, 4))
contexts = st.one_of(compacts, newest, st.builds(Combined, newest, compacts))
limits = st.one_of(
    st.builds(TurnLimit, st.integers(0, 40)), st.builds(lambda n: TokenLimit(n).of("root"), st.integers(1, 400))
)


class SummarizingModel(ScriptedModel):
    """Has a separate script for the requests in which no tool may be used."""

    def __init__(self, summaries: list[ModelStep]) -> None:
        super().__init__()
        self.summaries = summaries

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        if tool_choice == "none" and self.summaries:
            self.script.insert(0, self.summaries.pop(0))
        return await super().complete(messages, tools, tool_choice)


@dataclass(frozen=True)
class Played:
    """A finished conversation: several tasks, each run to its end, whatever the end was."""

    agent: Agent
    model: ScriptedModel
    events: list[Event]

    def states(self) -> Iterator[ConversationState]:
        """The state after each prefix of the events."""
        return accumulate(self.events, ConversationState.after, initial=ConversationState())


def play(
    scripts: list[list[ModelStep]],
    summaries: list[ModelStep],
    outcomes: list[ToolStep],
    wishes: list[Outcome],
    context: Context,
    limit: Limits,
) -> Played:
    model = SummarizingModel(summaries)
    tools = FakeTool("ipython", *outcomes), FakeTool("summarize", *wishes, nothing_="string")
    agent, events = open_agent(model, *tools, context=context, limits=limit)

    async def do_tasks() -> None:
        for number, script in enumerate(scripts):
            model.script = [*script, *(says("end") for _ in range(9))]
            stuck = [step for step in (*script, *model.summaries, *tools[0].script) if isinstance(step, Stuck)]
            await do_task(agent, stuck, *([] if number else [SYSTEM]), User(f"task {number}"))

    asyncio.run(do_tasks())
    return Played(agent, model, events)


async def do_task(agent: Agent, stuck: Sequence[Stuck], *opening: System | User) -> None:
    """Run the task to its end, or until it is stuck; then cancel it."""
    run = asyncio.create_task(agent.run(*opening))
    begun = [asyncio.create_task(step.begun.wait()) for step in stuck]
    await asyncio.wait([run, *begun], return_when=asyncio.FIRST_COMPLETED)
    for waiting in (run, *begun):
        waiting.cancel()
    end, *_ = await asyncio.gather(run, *begun, return_exceptions=True)
    assert isinstance(end, AgentResult | asyncio.CancelledError | ModelError) or str(end) == "a bug", repr(end)


conversations = st.builds(play, scripts, summaries, outcomes, wishes, contexts, limits)


# ---- the journal's law, written a second time, without the core's history


def journal(events: Iterable[Event]) -> list[Message]:
    """The messages in the order in which they came, without those that were dropped."""
    reported: list[Message] = []
    dropped: set[int] = set()
    forms: dict[int, Message] = {}
    for event in events:
        match event:
            case Said(message) | ToolReturned(message):
                reported.append(message)
            case Replied(reply):
                reported.append(reply.message)
            case Dropped(numbers, left=left, forms=changed):
                dropped.update(set(numbers) - set(left))
                forms.update(zip(left, changed, strict=True))
            case Adapted(changed=changed, gone=numbers):
                forms.update(changed)
                dropped.update(numbers)
    return [forms.get(number, message) for number, message in enumerate(reported) if number not in dropped]


def is_in_strict_order(messages: Sequence[Message]) -> bool:
    """Whether the order suits strict chat templates: no user text after a tool message or another user message."""
    after = {id(two): one for one, two in pairwise(messages) if isinstance(two, User)}
    return all(
        isinstance(one, ToolResult) and not isinstance(two.wire()["content"], str)  # pictures
        for two in messages
        if isinstance(one := after.get(id(two)), User | ToolResult)
    )


def users(messages: Iterable[Message], kind: Kind) -> list[Message]:
    return [message for message in messages if isinstance(message, User) and message.kind is kind]


many_examples = settings(  # a busy machine is not a failure
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


# ---- the laws


@many_examples
@given(conversations)
def test_the_events_determine_the_state(played: Played) -> None:
    assert replay(played.events) == played.agent.state


@many_examples
@given(conversations)
def test_the_size_of_a_history_is_that_of_its_messages_after_every_event(played: Played) -> None:
    for state in played.states():
        assert state.history.size == sum(size(message) for message in state.history.messages)


@many_examples
@given(conversations)
def test_each_reply_was_given_to_the_messages_reported_and_not_dropped_before_it(played: Played) -> None:
    sent = [list(request.sent) for request in played.model.seen if request.answered]
    replied = [n for n, event in enumerate(played.events) if isinstance(event, Replied)]
    assert sent == [journal(played.events[:n]) for n in replied]


@many_examples
@given(conversations)
def test_every_request_is_one_that_a_model_accepts(played: Played) -> None:
    for request in played.model.seen:
        assert acceptable(request.sent)
        assert is_in_strict_order(request.sent)
        assert len(users(request.messages, Kind.ASK)) == (request.tool_choice == "none")
        assert len(users(request.messages, Kind.SUMMARY)) <= 1


@many_examples
@given(conversations)
def test_the_system_prompt_and_every_task_so_far_are_in_every_request(played: Played) -> None:
    asked = [n for n, event in enumerate(played.events) if isinstance(event, RequestStarted)]
    for n, request in zip(asked, played.model.seen, strict=True):
        reported = [event.message for event in played.events[:n] if isinstance(event, Said) and not event.anew]
        assert request.messages[0] == SYSTEM
        tasks = [
            message for m, message in enumerate(reported) if message not in reported[:m]
        ]  # some are reported again
        assert users(request.messages, Kind.TASK) == users(tasks, Kind.TASK)


def settle(state: ConversationState) -> History:
    conversation = Conversation(lambda _: None, state)
    conversation.settle()
    return conversation.state.history


@many_examples
@given(conversations)
def test_every_prefix_of_the_events_can_be_settled(played: Played) -> None:
    for state in played.states():
        settled = settle(state)
        assert acceptable(settled.messages)
        assert settled.unanswered() == []
        assert settled.asides() == ()


@many_examples
@given(conversations, st.data())
def test_a_run_killed_anywhere_can_be_resumed(played: Played, data: st.DataObject) -> None:
    before = played.events[: data.draw(st.integers(0, len(played.events)))]
    state = replay(before)
    model = ScriptedModel(says("resumed"))
    agent, after = open_agent(model, state=state)
    result = asyncio.run(agent.run(User("Go on.")))
    whole = [*before, *after]
    (request,) = model.seen
    assert request.messages == (*apart(settle(state).messages), User("Go on."))
    assert list(request.sent) == journal(whole[: [*map(type, whole)].index(Replied, len(before))])
    assert (result.answer, result.stop) == ("resumed", Stop.DONE)
    assert replay(whole) == agent.state


@many_examples
@given(conversations)
def test_every_run_reports_its_end_once_and_last_and_is_done_with_a_text_alone(played: Played) -> None:
    ends = [event for event in played.events if isinstance(event, Stopped)]
    assert len(ends) == 3
    assert played.events[-1] is ends[-1]
    for end in ends:
        assert end.answer.strip() or end.stop is not Stop.DONE
        assert bool(end.error) == (end.stop in (Stop.ERROR, Stop.LENGTH, Stop.CONTENT_FILTER, Stop.CONTEXT_LIMIT))


@many_examples
@given(conversations)
def test_calls_are_reported_one_at_a_time_and_requests_when_they_change(played: Played) -> None:
    requested = [event for event in played.events if isinstance(event, ParametersChanged)]
    assert all(one != other for one, other in pairwise(requested))
    watched = [event for event in played.events if isinstance(event, CallStarted | CallEnded | Stopped)]
    for one, other in pairwise(watched):
        assert isinstance(one, CallStarted) == isinstance(other, CallEnded) or isinstance(other, Stopped)
        if isinstance(one, CallStarted) and isinstance(other, CallEnded):
            assert other.result.call == one.call


@many_examples
@given(st.lists(st.integers(0, 3), max_size=8), st.sets(st.integers(1, 8)))
def test_every_call_keeps_its_result_whatever_turns_are_dropped(per_turn: list[int], dropped: set[int]) -> None:
    history = History().add(SYSTEM).add(User("task"))
    for number in per_turn:
        reply = says("", *(call(code=str(n)) for n in range(number)))
        history = history.add(reply.message)
        for asked in reply.message.calls:
            history = history.add(ToolResult(asked, "ran"))
    kept = history.drop(history.in_turns(dropped))
    assert acceptable(kept.messages)
    assert kept.messages[:2] == history.messages[:2]
    assert kept.live_turns() == [n + 1 for n in range(len(per_turn)) if n + 1 not in dropped]
