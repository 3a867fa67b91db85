"""What the adapter sends, and how long it waits."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from typing import Any

import pytest
from rlm.core.events import Delta, Event, Retried, Waiting
from rlm.core.messages import Reply, System, ToolResult, Usage, User, assistant
from rlm.errors import ConfigError, CredentialsError, ModelError, ModelUnavailable
from rlm.providers import sse
from rlm.providers.client import EndpointModel, OpenAIClient
from rlm.providers.endpoint import Endpoint
from rlm.providers.retrying import RetryPolicy, WaitReporter, backoff, with_jitter
from rlm.version import VERSION
from rlm_testkit.scripted import (
    Answer,
    Request,
    Script,
    Scripted,
    always,
    calls,
    error,
    half,
    hang,
    html,
    reset,
    stall,
    text,
)

BASH = {"name": "bash", "description": "d", "parameters": {"type": "object", "properties": {}}}


class ObservedModel:
    """A model, and the events that it emitted."""

    def __init__(self, model: EndpointModel, events: list[Event]) -> None:
        self.model = model
        self.events = events

    async def __call__(self, content: str = "hi", **more: Any) -> Reply:
        return await self.model.complete([System("s"), User(content)], **{"tools": [], **more})

    @property
    def retries(self) -> list[Retried]:
        return [event for event in self.events if isinstance(event, Retried)]

    @property
    def streamed(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))


@asynccontextmanager
async def open_model(
    url: str,
    key: str | None = "sk-1",
    *,
    retries: int = 0,
    stream: bool = False,
    depth: int = 0,
    params: dict[str, Any] | None = None,
    api: str = "auto",
    **waits: Any,
) -> AsyncIterator[ObservedModel]:
    events: list[Event] = []
    options: dict[str, Any] = {"budget": 30, "first_pause": 0.02} | waits
    async with OpenAIClient(Endpoint(url, key), retries, api=api, **options) as client:
        yield ObservedModel(client.model("m", params, depth=depth, sink=events.append, stream=stream), events)


# ---- what is sent


async def test_a_request_contains_only_the_conversation_and_the_parameters() -> None:
    with Scripted(text("hi")) as server:
        async with open_model(server.url, params={"temperature": 0}) as ask:
            await ask()
            assert ask.model.params == {"temperature": 0}
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].body == {
        "model": "m",
        "temperature": 0,
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}],
    }


async def test_tools_are_sent_and_a_choice_only_when_it_is_none() -> None:
    with Scripted(always(text("hi"))) as server:
        async with open_model(server.url) as ask:
            await ask(tools=[BASH])
            await ask(tools=[BASH], tool_choice="none")
            await ask(tool_choice="none")
    with_tools, none, without = (request.body for request in server.requests)
    assert with_tools["tools"] == none["tools"] == [{"type": "function", "function": BASH}]
    assert "tool_choice" not in with_tools
    assert none["tool_choice"] == "none"
    assert without.keys().isdisjoint({"tools", "tool_choice"})
    assert not any("parallel_tool_calls" in request.body for request in server.requests)


async def test_the_depth_and_the_key_are_headers() -> None:
    with Scripted(text("hi")) as server:
        async with open_model(server.url, "sk-secret", depth=3) as ask:
            await ask()
    assert server.requests[0].depth == 3
    assert server.requests[0].headers["authorization"] == "Bearer sk-secret"


AMBIENT = {
    "OPENAI_API_KEY": "ambient-key",
    "OPENAI_ADMIN_KEY": "ambient-admin",
    "OPENAI_ORG_ID": "ambient-org",
    "OPENAI_PROJECT_ID": "ambient-project",
    "OPENAI_CUSTOM_HEADERS": "X-Gateway: ambient\nAuthorization: Bearer ambient",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/ambient",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("key", [None, "sk-1"])
def test_openai_variables_of_the_environment_are_sent_to_nobody_else(key: str | None, stream: bool) -> None:
    program = f"""
import asyncio
from rlm.core.messages import User
from rlm.providers.endpoint import Endpoint
from rlm.providers.client import OpenAIClient
async def main(url):
    async with OpenAIClient(Endpoint(url, {key!r})) as client:
        await client.model("m", depth=0, sink=lambda _: None, stream={stream}).complete([User("hi")], [])
import sys
asyncio.run(main(sys.argv[1]))
"""
    with Scripted(text("hi")) as server:
        subprocess.run([sys.executable, "-c", program, server.url], env=os.environ | AMBIENT, check=True)
    headers = server.requests[0].headers
    assert headers.get("authorization") == (f"Bearer {key}" if key else None)
    assert "ambient" not in json.dumps(dict(headers))


async def test_the_answer_is_sent_back_unchanged() -> None:
    answer = calls(("bash", {"a": "é"}), reasoning_content="hm", extra={"signature": "s"})
    with Scripted(answer, text("done")) as server:
        async with open_model(server.url) as ask:
            reply = await ask(tools=[BASH])
            result = ToolResult(reply.message.calls[0], "out")
            await ask.model.complete([User("hi"), reply.message, result], [BASH])
    assert isinstance(answer.body, dict)
    assert server.requests[1].messages[1] == answer.body["choices"][0]["message"]
    assert server.requests[1].messages[2] == result.wire()


async def test_a_text_that_cannot_be_sent_is_repaired() -> None:
    with Scripted(text("hi")) as server:
        async with open_model(server.url) as ask:
            await ask("half \ud83d of it")
    assert server.requests[0].last == "half \ufffd of it"


async def test_an_invalid_url_is_reported_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="must begin with http"):
        OpenAIClient(Endpoint("localhost:8000", None))


def test_an_endpoint_never_shows_its_key() -> None:
    assert "sk-1" not in repr(Endpoint(None, "sk-1"))


# ---- streaming


async def test_a_stream_is_reported_as_it_comes_and_gives_the_same_reply() -> None:
    answer = calls(("bash", {"a": 1}), ("bash", {"b": "x" * 50}), content="thinking aloud " * 9, reasoning="hm" * 30)
    replies = []
    for stream in (False, True):
        with Scripted(answer) as server:
            async with open_model(server.url, stream=stream) as ask:
                replies.append(await ask(tools=[BASH]))
                assert ask.streamed == ("thinking aloud " * 9 if stream else "")
        assert server.requests[0].streamed == stream
    assert replies[0] == replies[1]
    assert replies[0].usage == Usage(100, 10, 40, 3)


async def test_text_is_reported_before_the_answer_is_complete() -> None:
    received = asyncio.Event()
    answer = replace(text("one two three"), piece=4, gate=lambda piece: b"one" not in piece or received.is_set())
    with Scripted(answer) as server:
        async with open_model(server.url, stream=True) as ask:
            running = asyncio.create_task(ask())
            while not ask.streamed:
                await asyncio.sleep(0.001)
            assert (ask.streamed, running.done()) == ("one ", False)
            received.set()
            assert (await running).message.text == ask.streamed == "one two three"


async def test_a_stream_that_breaks_off_comes_again_after_the_notice() -> None:
    with Scripted(half(text("first try")), text("second try")) as server:
        async with open_model(server.url, stream=True) as ask:
            assert (await ask()).message.text == "second try"
    assert isinstance(ask.events[0], Delta | Retried)
    last_notice = max(number for number, event in enumerate(ask.events) if isinstance(event, Retried))
    after = [event.text for event in ask.events[last_notice:] if isinstance(event, Delta)]
    assert "".join(after) == "second try"


def without(name: str, wording: str) -> Script:
    def script(request: Request) -> Answer:
        return error(400, wording) if name in request.body else text("hi")

    return script


async def test_a_server_that_refuses_stream_options_is_asked_without() -> None:
    with Scripted(without("stream_options", "Unrecognized argument: stream_options")) as server:
        async with open_model(server.url, stream=True) as ask:
            assert (await ask()).usage.estimated
            assert ask.streamed == "hi"
            await ask()
    assert ["stream_options" in request.body for request in server.requests] == [True, False, False]
    assert ask.retries == []


async def test_a_refusal_counts_for_all_agents_that_were_under_way() -> None:
    def slow(request: Request) -> Answer:
        return without("stream_options", "extra field: stream_options")(request).after(0.1)

    with Scripted(slow) as server:
        async with OpenAIClient(Endpoint(server.url)) as client:
            models = [client.model("m", depth=0, sink=lambda _: None, stream=True) for _ in range(5)]
            replies = await asyncio.gather(*(model.complete([User("hi")], []) for model in models))
    assert [reply.message.text for reply in replies] == ["hi"] * 5


@pytest.mark.parametrize(
    "words", ["Cannot use tools with stream", "Streaming is not supported", "`stream` must be false for this model"]
)
async def test_a_server_that_refuses_to_stream_is_asked_for_the_whole_response(words: str) -> None:
    with Scripted(without("stream", words)) as server:
        async with open_model(server.url, stream=True) as ask:
            assert (await ask()).message.text == "hi"
            assert ask.retries == []
    assert [request.streamed for request in server.requests] == [True, False]


async def test_a_failing_upstream_is_not_a_refusal_to_stream() -> None:
    with Scripted(error(500, "upstream connect error: not reachable"), text("hi")) as server:
        async with open_model(server.url, stream=True) as ask:
            await ask()
    assert [request.streamed for request in server.requests] == [True, True]
    assert len(ask.retries) == 1


async def test_a_stream_may_be_asked_for_with_a_parameter_of_the_model() -> None:
    with Scripted(text("hi")) as server:
        async with open_model(server.url, params={"stream": True, "stream_options": {}, "seed": 1}) as ask:
            assert (await ask()).message.text == "hi"
            assert ask.model.params == {"seed": 1}
    assert server.requests[0].streamed


async def test_a_server_that_does_not_stream_though_asked_is_understood() -> None:
    body = json.dumps(text("hi").body).encode()
    with Scripted(Answer(body, headers={"Content-Type": "application/json"})) as server:
        async with open_model(server.url, stream=True) as ask:
            assert (await ask()).message.text == "hi"


# ---- waiting


async def test_a_retry_after_is_obeyed() -> None:
    with Scripted(error(429, "slow down", retry_after="1"), text("hi")) as server:
        async with open_model(server.url) as ask:
            await ask()
    first, second = (request.at for request in server.requests)
    assert second - first >= 1
    assert 1 <= ask.retries[0].wait <= 1.1


def test_a_requested_wait_is_a_little_longer_and_varies() -> None:
    assert len({with_jitter(20.0) for _ in range(9)}) > 1
    for asked in (0.0, 0.5, 20.0, 299.0):
        assert asked <= with_jitter(asked) <= min(asked * 1.1, asked + 3)


async def test_each_wait_is_chosen_at_random() -> None:
    def script(request: Request) -> Answer:
        return error(500, "no") if int(request.headers["x-stainless-retry-count"]) < 3 else text("hi")

    async def waits(client: OpenAIClient) -> list[float]:
        events: list[Event] = []
        await client.model("m", depth=0, sink=events.append, stream=False).complete([User("hi")], [])
        return [event.wait for event in events if isinstance(event, Retried)]

    with Scripted(script) as server:
        async with OpenAIClient(Endpoint(server.url, "k"), 0, first_pause=0.02) as client:  # the first three are equal
            all_waits = await asyncio.gather(*(waits(client) for _ in range(20)))
    assert any(each != sorted(each) for each in all_waits), (
        "the longest wait so far must not become the lower limit of the next one"
    )


async def test_the_waits_grow_whatever_the_provider_asks_and_the_notices_count() -> None:
    with Scripted(
        *[error(500, "no")] * 2, error(500, "no", retry_after="0.01"), error(429, "slow"), text("hi")
    ) as server:
        async with open_model(server.url, retries=9) as ask:
            await ask()
    assert [event.attempt for event in ask.retries] == [1, 2, 3, 4]
    waits = [event.wait for event in ask.retries]
    assert waits == sorted(waits)
    for event in ask.retries:
        longest = 0.02 * 2 ** (event.attempt - 1)
        assert longest / 2 <= event.wait <= longest


@pytest.mark.parametrize(
    ("quick", "waits"),
    [
        (0, [2, 2, 2, 4, 8, 16, 24, 24]),
        (5, [0.5, 1, 2, 4, 8, 16, 24, 24]),
        (99, [0.5, 1, 2, 4, 8, 8, 8, 8]),
    ],
)
def test_the_tries_of_the_sdk_come_at_its_pace(quick: int, waits: list[float]) -> None:
    policy = RetryPolicy(budget=300, first_pause=0.5, quick=quick, notice=25)
    for failures, longest in enumerate(waits, 1):
        assert longest * 0.75 <= backoff(failures, policy) <= longest


async def test_all_tries_of_one_request_are_known_as_one() -> None:
    with Scripted(reset(), error(500, "no"), text("hi"), text("ho")) as server:
        async with open_model(server.url, retries=5) as ask:
            await ask()
            await ask()
    headers = [request.headers for request in server.requests]
    assert [each["x-stainless-retry-count"] for each in headers] == ["0", "1", "2", "0"]
    first, *retries, another = [each["idempotency-key"] for each in headers]
    assert retries == [first, first]
    assert another != first
    assert {each["user-agent"] for each in headers} == {f"rlm/{VERSION}"}
    assert len(ask.retries) == 2


async def test_when_the_budget_is_spent_the_error_has_the_number_of_tries_and_their_duration() -> None:
    began = time.monotonic()
    with Scripted(*[error(500, "no", retry_after="0.1")] * 3, error(500, "no", retry_after="899.9")) as server:
        async with open_model(server.url, retries=5, budget=900) as ask:
            with pytest.raises(ModelUnavailable, match=r"\(4 times, for [\d.]+ s\)") as caught:
                await ask()
    seconds = float(str(caught.value).rpartition("for ")[2].partition(" s)")[0])
    assert sum(event.wait for event in ask.retries) - 0.5 <= seconds <= time.monotonic() - began + 0.5
    assert [event.attempt for event in ask.retries] == [1, 2, 3]


PING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b": ping\n\n" * 9
SILENT = {
    "no byte": hang(),
    "nothing after the headers": stall(Answer(b" ")),
    "a stream that stops": stall(text("x" * 99)),
    "a pause": error(429, "slow down", retry_after="20"),
}


async def silence_report(url: str, begun: Callable[[ObservedModel], object]) -> Waiting:
    """Once `begun` is true, return the notice that is emitted while no data arrives. Every time limit is very long."""
    async with open_model(url, stream=True, notice=0.02, read_timeout=600) as ask:
        running = asyncio.create_task(ask())
        while not begun(ask):
            await asyncio.sleep(0.001)
        ask.events.clear()
        waits: list[Waiting] = []
        while len(waits) < 3 or waits[-1].reason.startswith("no answer for 0 s"):
            assert not running.done()
            waits = [event for event in ask.events if isinstance(event, Waiting)]
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    return waits[-1]


@pytest.mark.parametrize("answer", SILENT.values(), ids=SILENT)
async def test_a_wait_is_reported_again_and_again(answer: Answer) -> None:
    paused = answer.status == 429
    with Scripted(always(answer)) as server:
        waiting = await silence_report(server.url, lambda ask: ask.retries if paused else server.requests)
    failed = ", the last try failed: 429 Too Many Requests: slow down" if paused else ""
    assert re.fullmatch(rf"no answer for [1-9]\d* s{failed}", waiting.reason)
    assert 0 < waiting.left <= (22 if paused else 600)


async def test_comments_that_keep_a_connection_alive_are_not_an_answer() -> None:
    async def ping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(PING)
            pinging.set()
            while True:
                writer.write(b": ping\n\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        writer.close()
        left.set()

    pinging, left = asyncio.Event(), asyncio.Event()
    async with await asyncio.start_server(ping, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await silence_report(f"http://127.0.0.1:{port}/v1", lambda _: pinging.is_set())
        await left.wait()


async def test_silence_counts_from_the_newest_piece() -> None:
    reports: list[tuple[str, float]] = []

    async def until_reported() -> Reply:
        while not reports:
            await asyncio.sleep(0.001)
        return Reply(assistant({}))

    waits = WaitReporter(lambda event: reports.append((str(event), time.monotonic())), 0.02)
    await asyncio.sleep(1.1)
    began = time.monotonic()
    waits.restart()
    await waits.during(until_reported())
    (words, at), *_ = reports
    seconds = re.search(r"no answer for (\d+) s", words)
    assert seconds
    assert int(seconds[1]) <= round(at - began)


async def test_a_caller_that_stops_waiting_stops_the_work() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> Reply:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()
        return Reply(assistant({}))

    waiting = asyncio.create_task(WaitReporter(lambda _: None, 60).during(work()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


# ---- the form of requests and replies


def events_of(*chunks: object, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def piece(content: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


HELLO = (piece("hel"), piece("lo", "stop"))
WHOLE = json.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})
SPELLINGS = {
    "valid": events_of(*HELLO),
    "a byte order mark": b"\xef\xbb\xbf" + events_of(*HELLO),
    "CRLF": events_of(*HELLO).replace(b"\n", b"\r\n"),
    "CR": events_of(*HELLO).replace(b"\n", b"\r"),
    "no blank": events_of(*HELLO).replace(b"data: ", b"data:"),
    "comments": b": hi\n\n" + events_of(*HELLO).replace(b"\n\n", b"\n\n: ping\n\n"),
    "id, event and retry": b"retry: 9\n\n" + events_of(*HELLO).replace(b"data", b"event: x\nid: 7\ndata"),
    "events without data": b"id: 1\n\nevent: ping\n\n" + events_of(*HELLO),
    "empty data": b"data:\n\ndata: \n\n" + events_of(*HELLO),
    "data in several lines": b"data: {\ndata: " + json.dumps(HELLO[0])[1:].encode() + b"\n\n" + events_of(HELLO[1]),
    "no [DONE]": events_of(*HELLO, done=False),
    "no last blank line": events_of(*HELLO, done=False).rstrip(),
    "no blank lines": events_of(*HELLO).replace(b"\n\n", b"\n"),
    "invalid data after the end": events_of(*HELLO) + b'data: {"x":\n\n',
    "invalid data after the message": events_of(*HELLO, done=False) + b"data: bye\n\n",
    "no finish_reason": events_of(piece("hel"), piece("lo")),
    "an empty finish_reason": events_of(piece("hel", ""), piece("lo", "")),
    "choices empty and null": events_of({"choices": []}, *HELLO, {"choices": None}),
    "a delta that is null": events_of({"choices": [{"delta": None}]}, *HELLO),
    "two pieces on a line": f"data: {json.dumps(HELLO[0])}{json.dumps(HELLO[1])}\n\n".encode(),
    "[DONE] after a piece": events_of(*HELLO, done=False).rstrip() + b" [DONE]\n\n",
    "one piece on each line": "\n".join(map(json.dumps, HELLO)).encode(),
    "JSON in UTF-16": WHOLE.encode("utf-16"),
    "usage with NaN": events_of(*HELLO[:1], {**HELLO[1], "usage": {"prompt_tokens": float("nan")}}),
    "a completion in one event": f"data: {WHOLE}\n\n".encode(),
    "JSON": WHOLE.encode(),
    "text of a gateway": json.dumps({"code": 0, "message": "success"} | json.loads(WHOLE)).encode(),
    "JSON after blanks and comments": b"\n\n: PROCESSING\n\n" + WHOLE.encode(),
    "JSON and [DONE]": WHOLE.encode() + b"\n\ndata: [DONE]\n\n",
}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reply_is_understood_in_every_form_under_any_content_type(stream: bool) -> None:
    kinds = ("text/event-stream", "text/plain; charset=utf-8", "application/json")
    answers = {
        (name, kind): Answer(body, headers={"Content-Type": kind}) for name, body in SPELLINGS.items() for kind in kinds
    }
    packed = Answer(gzip.compress(SPELLINGS["CRLF"]), headers={"Content-Encoding": "gzip"})
    with Scripted(*answers.values(), packed) as server:
        async with open_model(server.url, stream=stream) as ask:
            for way in (*answers, "gzip"):
                assert (await ask()).message.text == "hello", way
            assert ask.retries == []


def to(status: int, where: str) -> Answer:
    return Answer(status=status, headers={"Location": where})


async def test_a_redirect_is_reported_or_followed_to_its_end() -> None:
    with Scripted(text("hi")) as other, closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed_address = f"127.0.0.1:{nobody.getsockname()[1]}"
        answers = [to(301, "https://a.test/v1"), to(302, "/login"), to(307, f"{other.url}/chat/completions")]
        answers += [to(308, f"http://{closed_address}/"), *[to(307, "/v1/chat/completions")] * 6]
        with Scripted(*answers) as server:
            async with open_model(server.url, budget=0.001) as ask:
                with pytest.raises(ModelError, match=r"the server redirects to https://a.test/v1. Set RLM_BASE_URL"):
                    await ask()
                with pytest.raises(ModelError, match="the server redirects to /login"):
                    await ask()
                assert (await ask()).message.text == "hi"
                with pytest.raises(ModelUnavailable, match=f"connection refused by {closed_address}"):
                    await ask()
                with pytest.raises(ModelError, match=r"127.0.0.1:\d+ redirects again and again. Check RLM_BASE_URL"):
                    await ask()
            assert len(server.requests) == len(answers)


UNUSABLE = [
    "http://[::1/v1",
    "http://a:99999/v1",
    "http://ün..c/v1",
    "http://a:1:2/v1",
    "http://256.1.1.1/v1",
    "http://a/v1\x7f",
    "http://exa mple:80/v1",
    "//a:notaport/v1",
    "http://user:word-1?x@host/v1",
    "ftp://a/v1",
    "mailto:a",
]


async def test_a_redirect_to_an_invalid_url_is_reported_at_once() -> None:
    with Scripted(*[to(307 + index % 2, where) for index, where in enumerate(UNUSABLE)]) as server:
        async with open_model(server.url) as ask:
            for where in UNUSABLE:
                with pytest.raises(
                    ModelError, match=r"the server redirects to .* cannot be used: .* Check RLM_"
                ) as caught:
                    await ask()
                assert where.split(":")[0] in str(caught.value)
                assert "word-1" not in str(caught.value)
        assert ask.retries == []
    assert len(server.requests) == len(UNUSABLE)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"detail": "Not Found"}', "an error instead of an answer: Not Found"),
        (b'{"code": 1302, "msg": "slow down"}', "an error instead of an answer: slow down"),
        (b'{"status": 429, "message": "slow down"}', "429 Too Many Requests: slow down"),
        (b'event: error\ndata: {"message": "gone mad", "code": 500}\n\n', "500 Internal Server Error: gone mad"),
    ],
)
async def test_the_text_of_an_error_with_status_200_is_reported(body: bytes, words: str) -> None:
    with Scripted(always(Answer(body))) as server:
        async with open_model(server.url, budget=0.001) as ask:
            with pytest.raises(ModelUnavailable, match=re.escape(words)):
                await ask()


def nested(levels: int, innermost: str) -> str:
    return "[" * levels + innermost + "]" * levels


ODD = {
    "an error, nested": Answer(b"[" * 100_000, status=400),
    "an error, nested, as an object": Answer(b'{"error":' * 100_000, status=500),
    "a date without end": error(429, "slow down", retry_after="Mon, 01 Jan 99999999999999999999 00:00:00 GMT"),
    "a date, and a server date without end": Answer(
        b"slow down",
        status=429,
        headers={
            "Retry-After": "Mon, 01 Jan 2030 00:00:00 GMT",
            "Date": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        },
    ),
    "a code of many digits": Answer(json.dumps({"error": {"code": "4" * 5_000, "message": "no"}}).encode()),
    "a code, nested": Answer(f'{{"error": {{"code": {nested(900, "1")}}}}}'.encode()),
    **{
        f"{name}, {levels} levels": Answer(
            f'{{"choices": [{{"message": {message % nested(levels, inner)}}}]}}'.encode()
        )
        for levels in (150, 500, 900, 970)
        for name, message in (
            ("a field", '{"content": "x", "extra": %s}'),
            ("the content", '{"content": %s}'),
        )
        for inner in ('"x"', '"\\ud800"')
    },
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_nothing_that_a_server_sends_is_an_error_of_rlm(answer: Answer) -> None:
    with Scripted(always(answer)) as server:
        async with open_model(server.url, budget=0.001) as ask:
            with pytest.raises(ModelError):
                await ask()


@pytest.mark.parametrize("levels", [150, 500, 900, 970])
async def test_arguments_may_be_nested_because_they_become_a_text(levels: int) -> None:
    arguments = f'{{"code": {nested(levels, "1")}}}'
    message = f'{{"tool_calls": [{{"function": {{"name": "bash", "arguments": {arguments}}}}}]}}'
    with Scripted(always(Answer(f'{{"choices": [{{"message": {message}}}]}}'.encode()))) as server:
        async with open_model(server.url, budget=0.001) as ask:
            try:
                assert (await ask()).message.calls[0].arguments == arguments
            except ModelError:
                assert levels == 970


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_events_may_come_in_any_pieces(size: int) -> None:
    odd = "a\u2028b\x85c é☃😀"
    body = events_of(piece(odd)).replace(json.dumps(odd).encode(), json.dumps(odd, ensure_ascii=False).encode())
    for spelt in (body, b"\xef\xbb\xbf" + body.replace(b"\n", b"\r\n"), body.replace(b"\n", b"\r")):
        decoder = sse.SSEDecoder()
        datas = [data for at in range(0, len(spelt), size) for data in decoder.feed(spelt[at : at + size])]
        datas += decoder.end()
        assert datas[-1] == sse.DONE
        assert json.loads(datas[0])["choices"][0]["delta"]["content"] == odd


@pytest.mark.parametrize(
    "garbled",
    [
        b"data: {oops\n\n",
        b"data: []\n\n",
        b": ping\n\n",
        events_of(piece("x"), done=False),
        b"<!doctype html><title>Sign in</title>",
        b": ping\n\n<html><body>Sign in</body></html>",
        b"data: <html></html>\n\n",
        b'{"choices": []}',
        b'{"choices": [{"index": 0}]}',
        b'{"id": "x"}',
    ],
)
async def test_after_an_unreadable_stream_whole_responses_are_requested_from_then_on(garbled: bytes) -> None:
    def script(request: Request) -> Answer:
        return Answer(garbled) if request.streamed else text("hi")

    with Scripted(script) as server:
        async with open_model(server.url, stream=True) as ask:
            for _ in range(3):
                assert (await ask()).message.text == "hi"
    assert [request.body.get("stream") for request in server.requests] == [True, False, False, False]
    assert len(ask.retries) == 1


@pytest.mark.parametrize(
    "garbled", [b'{"choices": [{"message"', b"<html></html>", b'{"choices": []}', b'{"choices": [{}]}']
)
async def test_after_an_unreadable_response_streams_are_requested_from_then_on(garbled: bytes) -> None:
    def script(request: Request) -> Answer:
        return text("hi") if request.streamed else Answer(garbled)

    with Scripted(script) as server:
        async with open_model(server.url) as ask:
            for _ in range(2):
                assert (await ask()).message.text == "hi"
    assert [request.streamed for request in server.requests] == [False, True, True]


@pytest.mark.parametrize(
    "words",
    [
        "This model only support stream mode, please enable the stream parameter to access the model.",
        "Non-streaming requests are not supported. Set stream to true.",
        "`stream` must be true",
    ],
)
async def test_a_model_that_only_streams_is_asked_for_a_stream(words: str) -> None:
    with Scripted(lambda request: text("hi") if request.streamed else error(400, words)) as server:
        async with open_model(server.url) as ask:
            assert [(await ask()).message.text for _ in range(2)] == ["hi", "hi"]
    assert [request.streamed for request in server.requests] == [False, True, True]


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_closes_the_connection(stream: bool) -> None:
    with Scripted(hang()) as server:
        async with open_model(server.url, stream=stream) as ask:
            running = asyncio.create_task(ask())
            await asyncio.to_thread(server.wait, lambda s: s.requests)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await asyncio.to_thread(server.wait, lambda s: s.seen["left"] == 1)
    assert ask.events == []


async def test_cancelling_in_the_middle_of_a_stream_closes_the_connection() -> None:
    with Scripted(text("word " * 1000).slowly(0.01)) as server:
        async with open_model(server.url, stream=True) as ask:
            running = asyncio.create_task(ask())
            while not ask.streamed:
                await asyncio.sleep(0.001)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await asyncio.to_thread(server.wait, lambda s: s.seen["left"] == 1)


async def test_an_invalid_stream_is_closed_at_once() -> None:
    nonsense = Answer(b"data: []\n\n" * 2, headers={"Content-Type": "text/event-stream"})
    with Scripted(stall(nonsense), text("hi")) as server:
        async with open_model(server.url, stream=True) as ask:
            await ask()
            await asyncio.to_thread(server.wait, lambda s: s.seen["left"] == 1)


async def test_a_key_that_the_provider_repeats_is_not_shown() -> None:
    with Scripted(error(401, "Incorrect API key: sk-very-secret")) as server:
        async with open_model(server.url, "sk-very-secret") as ask:
            with pytest.raises(CredentialsError, match=re.escape("Incorrect API key: [redacted]")):
                await ask()
    with Scripted(error(500, "key sk-very-secret"), error(400, "bad")) as server:
        async with open_model(server.url, "sk-very-secret") as ask:
            with pytest.raises(ModelError):
                await ask()
    assert "sk-very-secret" not in str(ask.events)


async def test_many_agents_share_one_client_and_its_connections() -> None:
    with Scripted(always(text("hi").after(0.05))) as server:
        async with OpenAIClient(Endpoint(server.url, "k")) as client:
            models = [client.model("m", depth=1, sink=lambda _: None, stream=False) for _ in range(50)]
            for _ in range(2):
                replies = await asyncio.gather(*(model.complete([User("hi")], []) for model in models))
                assert {reply.message.text for reply in replies} == {"hi"}
    assert len(server.requests) == 100
    assert server.seen["connected"] <= 50


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_lost_reply_is_requested_again_unchanged_in_case_the_server_has_stored_it(streamed: bool) -> None:
    """A proxy that caches the reply for an idempotency key refuses another body with the same key."""
    replies: dict[str, dict[str, Any]] = {}

    def script(request: Request) -> Answer:
        body = replies.setdefault(request.headers["idempotency-key"], request.wire)
        if body != request.wire:
            return error(400, "Idempotency-Key was reused with a different request")
        return html(200, "Bad Gateway") if len(server.requests) == 1 else text("the one")

    with Scripted(script) as server:
        async with open_model(server.url, stream=streamed) as ask:
            assert (await ask()).message.text == "the one"
    assert [streamed, not streamed, streamed] == [request.streamed for request in server.requests]
    assert 1 == len({request.headers["idempotency-key"] for request in server.requests})
