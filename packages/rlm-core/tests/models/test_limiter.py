"""The limit of concurrent requests to a provider that refuses some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from rlm.core.events import Event, Failed, Retried, Waiting
from rlm.core.messages import User
from rlm.providers.client import OpenAIClient
from rlm.providers.endpoint import Endpoint
from rlm.providers.errors import HTTPError, TransportError
from rlm.providers.limiter import Window, is_overload
from rlm_testkit.scripted import Answer, Request, Script, Scripted, error, text
from rlm_testkit.waiting import TIMEOUT, eventually


class ConcurrencyLimit:
    """Accepts up to `most` requests at once, holds them until it may answer, and refuses others. Only the server's
    thread runs it.
    """

    def __init__(self, most: int, refusal: Answer) -> None:
        self.most = most
        self.refusal = refusal
        self.in_flight = 0
        self.accepted: list[int] = []
        self.may_leave = 0

    def __call__(self, request: Request) -> Answer:
        if self.in_flight >= self.most:
            return self.refusal
        self.in_flight += 1
        number = len(self.accepted)
        self.accepted.append(request.depth)
        left = iter([False])

        def gate(_: bytes) -> bool:
            if number >= self.may_leave:
                return False
            self.in_flight -= next(left, True) is False
            return True

        return replace(text("done"), gate=gate)


class Agents:
    """Many agents of one host, and the events that they receive."""

    def __init__(self, client: OpenAIClient) -> None:
        self.client = client
        self.events: dict[int, list[Event]] = {}
        self.tasks: list[asyncio.Task[object]] = []

    def ask(self, depth: int, count: int = 1) -> None:
        for _ in range(count):
            events = self.events[len(self.events)] = []
            model = self.client.model("m", depth=depth, sink=events.append, stream=False)
            self.tasks.append(asyncio.create_task(model.complete([User("hi")], [])))

    @property
    def notices(self) -> list[str]:
        return [event.reason for events in self.events.values() for event in events if isinstance(event, Failed)]

    def are_queued(self, count: int, server: Scripted, in_flight: int) -> bool:
        """Whether this many agents wait for their turn, all others are in flight, and every refusal has been received."""
        newest = [event for events in self.events.values() for event in events[-1:]]
        queued = [event for event in newest if isinstance(event, Waiting) and "waiting for its turn" in event.reason]
        refused = [event for events in self.events.values() for event in events if isinstance(event, Retried)]
        return len(queued) == count and len(server.requests) == len(refused) + in_flight


@asynccontextmanager
async def agents(script: Script) -> AsyncIterator[tuple[Agents, Scripted]]:
    with Scripted(script) as server:
        async with (
            asyncio.timeout(TIMEOUT),
            OpenAIClient(Endpoint(server.url, "sk-1"), 0, budget=TIMEOUT, first_pause=0.02, notice=0.1) as client,
        ):
            yield Agents(client), server


@pytest.mark.parametrize(
    "refusal",
    [error(429, "slow down"), error(500, "The engine is overloaded")],
    ids=lambda refusal: str(refusal.status),
)
async def test_an_overloaded_provider_gets_fewer_requests_and_the_root_comes_first(refusal: Answer) -> None:
    script = ConcurrencyLimit(4, refusal)
    async with agents(script) as (all_agents, server):
        all_agents.ask(1, 24)
        await eventually(lambda: all_agents.are_queued(20, server, 4))
        sent = len(server.requests)
        all_agents.ask(0)
        await eventually(lambda: all_agents.are_queued(21, server, 4))
        assert sent == len(server.requests), "while four are in flight, no fifth is sent"
        script.may_leave = 4
        # requests that are sent at once may arrive in any order; no other request may arrive before the root's
        await eventually(lambda: any(request.depth == 0 for request in server.requests[sent : sent + 4]))
        script.may_leave = 1000
        await asyncio.gather(*all_agents.tasks)
    [notice] = all_agents.notices
    assert f"127.0.0.1:{server.url.split(':')[2][:-3]} has too many requests ({refusal.status} " in notice


async def test_all_agents_wait_as_long_as_one_was_asked_to() -> None:
    answers = iter([error(429, "slow down", retry_after_ms="400")])

    def script(request: Request) -> Answer:
        return next(answers, text("done"))

    async with agents(script) as (all_agents, server):
        all_agents.ask(1)
        await eventually(lambda: any(isinstance(event, Retried) for event in all_agents.events[0]))
        all_agents.ask(0)
        all_agents.ask(1, 3)
        await asyncio.gather(*all_agents.tasks)
    first, *others = (request.at for request in server.requests)
    assert 5 == len(others)
    assert min(others) - first >= 0.4


def test_the_number_is_halved_once_for_all_that_were_in_flight_and_grows_by_one_each_round() -> None:
    window = Window()
    assert window.refused(0, 20)
    assert not window.refused(0, 19), "it was sent before the limit changed"
    assert 10 == window.size
    for size in (10, 11):
        assert size == window.size
        for _ in range(size):
            window.succeeded()
    assert 12 == window.size
    assert window.refused(1, 3), "fewer were in flight than allowed"
    assert 1 == window.size


def test_one_step_too_far_is_taken_back_and_tried_again_after_twice_as_many_rounds() -> None:
    window = Window()
    window.refused(0, 16)
    for rounds in (1, 2, 4):
        for _ in range(8 * rounds):
            assert 8 == window.size
            window.succeeded()
        assert 9 == window.size
        assert window.refused(window.cuts, 9)
        assert 8 == window.size
    assert window.refused(window.cuts, 8), "the size that worked before is too large now"
    assert 4 == window.size


def test_without_a_refusal_there_is_no_limit_and_one_alone_teaches_nothing() -> None:
    window = Window()
    for _ in range(1000):
        window.succeeded()
    assert not window.refused(0, 1)
    assert window.size > 1_000_000


@pytest.mark.parametrize(
    ("fault", "overload"),
    [
        (HTTPError(429, ""), True),
        (HTTPError(503, "no healthy upstream"), True),
        (HTTPError(503, '{"error": {"message": "Loading model"}}'), False),
        (HTTPError(500, "overloaded_error"), True),
        (HTTPError(502, "Bad gateway"), False),
        (HTTPError(500, "internal error"), False),
        (TransportError("an error instead of an answer: Overloaded"), True),
        (TransportError("the connection broke off"), False),
    ],
)
def test_these_errors_mean_too_many_requests(fault: HTTPError | TransportError, overload: bool) -> None:
    assert overload == is_overload(fault)
