"""Each fault in packages/rlm-testkit/src/rlm_testkit/faults.py, caused against the real adapter in a real agent."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rlm.core.agent import Agent
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import Compact
from rlm.core.events import Event, Retried
from rlm.core.messages import System, User
from rlm.core.toolbox import Toolbox
from rlm.errors import ContextTooLong, CredentialsError, ModelError, ModelUnavailable, RlmError
from rlm.providers.client import OpenAIClient
from rlm.providers.endpoint import Endpoint
from rlm_testkit import scripted
from rlm_testkit.faults import BRIEFLY, BUDGET, CALLS, FAULTS, FILTERED, NO, OVERFLOWS, PASSING, SOME, Fault
from rlm_testkit.scripted import Answer, Scripted, always, error, in_order, text
from rlm_testkit.waiting import TIMEOUT

CODES: dict[type[Exception], int] = {CredentialsError: 4, ModelUnavailable: 75, ModelError: 1}


def open_agent(client: OpenAIClient, events: list[Event], *, stream: bool) -> Agent:
    model = client.model("gpt-9", depth=0, sink=events.append, stream=stream)
    return Agent(model=model, tools=Toolbox(), context=Compact(), limits=TurnLimit(3), sink=events.append)


@contextmanager
def url_of(fault: Fault) -> Iterator[str]:
    """Yield the URL at which the fault happens."""
    if fault.where == "unknown host":
        yield "http://no-such-host.invalid/v1"
    elif fault.where == "closed port":
        with socket.socket() as taken:  # a port without a listener
            taken.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    else:
        with Scripted(always(fault.answer), models=()) as server:
            yield server.url


def open_client(url: str, fault: Fault | None = None, *, budget: float = TIMEOUT) -> OpenAIClient:
    """A client with a read timeout of 0.2 s if the fault is a silent server, otherwise a long one."""
    silent = fault is not None and fault.sees.startswith("no answer in time")
    wait = 0.2 if silent else TIMEOUT
    return OpenAIClient(Endpoint(url, "sk-very-secret"), 0, budget=budget, read_timeout=wait, first_pause=0.02)


def as_reported(sees: str) -> re.Pattern[str]:
    """A pattern in which each `…` stands for a number."""
    return re.compile(re.escape(sees).replace("…", r"\d+(\.\d)?").replace("HOST", r"[\w.:-]+") + r"\Z")


CASES = [
    pytest.param(fault, streamed, id=f"{fault.name}, {'streamed' if streamed else 'whole'}")
    for fault in FAULTS
    for streamed in (False, True)
    if fault.streamed in (None, streamed)
]


@pytest.mark.parametrize(("fault", "streamed"), CASES)
async def test_a_fault_that_stays_ends_as_the_table_says(fault: Fault, streamed: bool) -> None:
    events: list[Event] = []
    with url_of(fault) as url:
        async with open_client(url, fault, budget=0.3 if fault.retried in (BRIEFLY, BUDGET) else TIMEOUT) as client:
            agent = open_agent(client, events, stream=streamed)
            if fault.code in CODES.values():
                with pytest.raises(RlmError, match=as_reported(fault.sees)) as caught:
                    await agent.run(System("s"), User("task"))
                assert CODES[caught.type] == fault.code
            else:
                result = await agent.run(System("s"), User("task"))
                assert (0 if result.stop is Stop.DONE else 3) == fault.code
    retries = [event for event in events if isinstance(event, Retried)]
    assert bool(retries) == (fault.retried != NO)
    if fault.retried == SOME:
        assert len(retries) == 3
    assert "sk-very-secret" not in str(events)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", [f for f in PASSING if f.where == "server"], ids=lambda fault: fault.name)
async def test_a_fault_that_passes_costs_a_notice_and_nothing_else(fault: Fault, streamed: bool) -> None:
    events: list[Event] = []
    with Scripted(lambda _: text("well") if len(server.requests) > 1 else fault.answer) as server:
        async with open_client(server.url, fault) as client:
            result = await open_agent(client, events, stream=streamed).run(System("s"), User("task"))
    assert (result.answer, result.stop) == ("well", Stop.DONE)
    if fault.streamed in (None, streamed):
        notice = next(event for event in events if isinstance(event, Retried))
        assert fault.sees.startswith(notice.reason)
        assert notice.attempt == 1


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("status", "words"), OVERFLOWS)
async def test_every_wording_of_a_context_that_is_too_long_is_known(status: int, words: str, streamed: bool) -> None:
    with Scripted(always(error(status, words))) as server:
        async with open_client(server.url) as client:
            model = client.model("m", depth=0, sink=lambda _: None, stream=streamed)
            with pytest.raises(ContextTooLong):
                await model.complete([User("task")], [])
        assert len(server.requests) == 1


@pytest.mark.parametrize(("status", "words"), FILTERED)
async def test_a_refusal_by_a_content_filter_stops_the_run_with_its_words(status: int, words: str) -> None:
    with Scripted(always(error(status, words))) as server:
        async with open_client(server.url) as client:
            result = await open_agent(client, [], stream=False).run(User("task"))
        assert len(server.requests) == 1
    assert result.stop is Stop.CONTENT_FILTER
    assert words in result.words


async def test_a_content_filter_in_the_middle_of_a_stream_stops_the_run_with_its_words() -> None:
    body = b'data: {"error": {"message": "blocked", "code": "content_filter"}}\n\n'
    with Scripted(always(Answer(body))) as server:
        async with open_client(server.url) as client:
            result = await open_agent(client, [], stream=True).run(User("task"))
    assert (result.stop, "blocked" in result.words) == (Stop.CONTENT_FILTER, True)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_empty_message_is_asked_for_again_in_the_other_form(streamed: bool) -> None:
    empty = text(None, reasoning_content="I should answer.")
    with Scripted(lambda request: empty if request.streamed == streamed else text("well")) as server:
        async with open_client(server.url) as client:
            result = await open_agent(client, [], stream=streamed).run(User("task"))
        assert [request.streamed for request in server.requests] == [streamed, not streamed]
    assert (result.answer, result.stop) == ("well", Stop.DONE)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "words",
    ["Too many tokens, please wait before trying again.", "Rate limit reached: limit 30000 tokens per min"],
)
async def test_too_many_tokens_a_minute_is_not_a_long_context(words: str, streamed: bool) -> None:
    with Scripted(in_order(error(429, words), text("well"))) as server:
        async with open_client(server.url) as client:
            model = client.model("m", depth=0, sink=lambda _: None, stream=streamed)
            assert (await model.complete([User("task")], [])).message.text == "well"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("answer", CALLS.values(), ids=CALLS)
async def test_calls_are_repaired_and_the_provider_gets_them_back_repaired(answer: Answer, streamed: bool) -> None:
    with Scripted(in_order(answer, text("done"))) as server:
        async with open_client(server.url) as client:
            result = await open_agent(client, [], stream=streamed).run(User("task"))
        assert result.answer == "done"
        asked, *answers = server.requests[1].messages[1:]
    ids = [call["id"] for call in asked["tool_calls"]]
    assert asked["content"] is None
    assert len(set(ids)) == len(ids)
    assert all(
        isinstance(call["function"]["arguments"], str) and call["type"] == "function" for call in asked["tool_calls"]
    )
    assert [answer["tool_call_id"] for answer in answers] == ids


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_certificate_that_nobody_trusts_is_reported_at_once(streamed: bool) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(scripted.__file__).with_name("untrusted.pem"))
    with Scripted(always(text("hi")), tls=tls) as server:
        async with open_client(server.url) as client:
            model = client.model("m", depth=0, sink=lambda _: None, stream=streamed)
            with pytest.raises(ModelError, match=r"certificate of 127.0.0.1:\d+ is not trusted .*Set SSL_CERT_FILE"):
                await model.complete([User("task")], [])
        assert server.requests == []


def test_the_list_holds_every_kind_of_retry() -> None:
    assert {fault.retried for fault in FAULTS} == {NO, SOME, BRIEFLY, BUDGET}
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
