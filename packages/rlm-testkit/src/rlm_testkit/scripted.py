"""A server on loopback that answers from a script, and shows faults on demand.

It has the Chat Completions and the Responses API. Scripts, and the requests that a test reads, use the terms of the
chat API for both. `Request.wire` is the original request.

    with Scripted(call("ipython", code="1+1"), text("2")) as server:
        ...  # base URL: server.url
    assert server.requests[1].messages[-1]["content"] == "2"

A script is a list of answers, used up in order, or a function of the request. Standard library only.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rlm_testkit import responses
from rlm_testkit.strict_order import problems
from rlm_testkit.waiting import TIMEOUT, until

Json = dict[str, Any]
Ending = Literal["whole", "half", "reset", "hang"]

USAGE: Json = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
_PATHS = ("/v1/chat/completions", "/v1/responses")
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Request:
    """A received request. Times are `time.monotonic()`, the same clock in every process of this machine."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: Json
    at: float
    wire: Json = field(default_factory=dict)
    method: str = "POST"

    @property
    def by_responses(self) -> bool:
        """Whether the request used the Responses API."""
        return self.path.partition("?")[0].endswith("/responses")

    @property
    def messages(self) -> list[Json]:
        return list(self.body.get("messages", ()))

    @property
    def depth(self) -> int:
        return int(self.headers.get("x-rlm-depth", "0"))

    @property
    def streamed(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def turn(self) -> int:
        """The number of assistant messages in the request: the index of the answer in an agent's own script."""
        return sum(message["role"] == "assistant" for message in self.messages)

    @property
    def task(self) -> str:
        """The text of the first user message, which identifies the agent."""
        return next((_text(message["content"]) for message in self.messages if message["role"] == "user"), "")

    @property
    def last(self) -> str:
        """The text of the newest message, most often a tool result."""
        return _text(self.messages[-1].get("content"))


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's behaviour for one request.

    `body` as a dict is a completion, sent whole or as server-sent events, as the request asks; bytes are sent
    unchanged. `delay` seconds pass before the first byte, `pause` seconds between the pieces of a stream of `piece`
    characters each, and after each of them the server waits until `gate(piece)` holds. `ending`: `half` closes the
    connection in the middle of the body, `reset` resets it without an answer, `hang` sends nothing after the headers.
    """

    body: Json | bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pause: float = 0.0
    piece: int = 20
    gate: Callable[[bytes], object] | None = None
    ending: Ending = "whole"

    def after(self, seconds: float) -> Answer:
        return replace(self, delay=seconds)

    def slowly(self, pause: float, piece: int = 5) -> Answer:
        return replace(self, pause=pause, piece=piece)


Script = Callable[[Request], Answer]


# ---- answers


def message(received: Json, finish: str | None = "stop", usage: Json | None = USAGE) -> Answer:
    """A completion with exactly this message."""
    choice = {"index": 0, "message": {"role": "assistant", **received}, "finish_reason": finish, "logprobs": None}
    return completion([choice], usage=usage)


def completion(choices: object, **fields: object) -> Answer:
    """A completion with exactly these choices, valid or not. A field that is `...` is left out."""
    body = {
        "id": f"chatcmpl-{next(_ids)}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "scripted",
        "choices": choices,
        **fields,
    }
    return Answer({name: value for name, value in body.items() if value is not ...})


def text(content: str | None, finish: str = "stop", usage: Json | None = USAGE, **fields: object) -> Answer:
    """An assistant message without calls.

    `fields`: more fields of the message, such as reasoning_content or refusal.
    """
    return message({"content": content, **fields}, finish, usage)


def call(name: str, /, **arguments: object) -> Answer:
    """One tool call: `call("ipython", code="1+1")`."""
    return calls((name, arguments))


def calls(
    *wanted: tuple[str, object], content: str | None = None, usage: Json | None = USAGE, **fields: object
) -> Answer:
    """Several tool calls in one message. Arguments that are a string are sent unchanged."""
    wire = [tool_call(name, arguments) for name, arguments in wanted]
    return message({"content": content, "tool_calls": wire, **fields}, "tool_calls", usage)


def tool_call(name: str, arguments: object, id: str | None = "") -> Json:
    """One entry of tool_calls. `id`: "" creates a new one, None omits it."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    wire = {"id": id or f"call_{next(_ids)}", "type": "function", "function": {"name": name, "arguments": written}}
    return wire if id is not None else {key: value for key, value in wire.items() if key != "id"}


def usage(prompt: int | None, completion: int | None, cached: int | None = 0, reasoning: int | None = 0) -> Json:
    """A usage object; any part may be None."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


# ---- faults


def error(status: int, message: str, code: str | None = None, kind: str = "error", **headers: str) -> Answer:
    """An error in OpenAI's format. `retry_after="3"` becomes the header Retry-After."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(
        json.dumps(body).encode(),
        status,
        {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}},
    )


def html(status: int = 200, title: str = "It works") -> Answer:
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(page.encode(), status, {"Content-Type": "text/html"})


def reset() -> Answer:
    return Answer(ending="reset")


def hang(delay: float = 3600.0) -> Answer:
    """Send nothing for `delay` seconds."""
    return replace(text("too late"), delay=delay)


def half(answer: Answer) -> Answer:
    """The same answer, cut in the middle of its body or stream."""
    return replace(answer, ending="half")


def stall(answer: Answer) -> Answer:
    """Send the headers and half of the body, then nothing more."""
    return replace(answer, ending="hang")


# ---- scripts


def in_order(*answers: Answer) -> Script:
    """Each answer once, in the order of the requests."""
    rest = iter(answers)

    def script(request: Request) -> Answer:
        missing = error(400, f"The script of {len(answers)} answers has run out.")
        return next(rest, missing)

    return script


def always(answer: Answer) -> Script:
    return lambda request: answer


def by_turn(*answers: Answer) -> Script:
    """Choose the answer by the number of assistant messages in the request.

    So any number of agents can use the script at once.
    """

    def script(request: Request) -> Answer:
        if request.turn < len(answers):
            return answers[request.turn]
        return error(400, f"The script of {len(answers)} answers has run out.")

    return script


def by_task(scripts: Mapping[str, Script | Sequence[Answer]]) -> Script:
    """Choose the script whose key is in the first user message. A list of answers is used by turn."""

    def script(request: Request) -> Answer:
        for key, chosen in scripts.items():
            if key in request.task:
                return (chosen if callable(chosen) else by_turn(*chosen))(request)
        return error(400, f"The script knows no task like {request.task!r}.")

    return script


# ---- the server


class Scripted:
    """The server: a separate thread with an event loop, for the duration of a `with` block.

    `models`: the models that it lists; None: it has no list. `strict`: leaving the block is an error if a strict
    provider would refuse a request's messages.
    """

    def __init__(
        self,
        *script: Answer | Script,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        models: Sequence[str | Json] | None = ("scripted",),
        strict: bool = True,
    ) -> None:
        first = script[0] if script else None
        self._script: Script = first if callable(first) else in_order(*(a for a in script if isinstance(a, Answer)))
        self._port = port
        self._tls = tls
        self._models = models
        self._strict = strict
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._talks: list[asyncio.Future[None]] = []
        self._thread = threading.Thread(target=self._run, name="scripted server", daemon=True)
        self.requests: list[Request] = []
        self.refused: list[str] = []
        """The reasons of refused requests, unless `strict` is off."""
        self.seen: Counter[str] = Counter()
        """How many clients `connected`, and how many `left` before the end of their answer."""

    @property
    def url(self) -> str:
        """The base URL, for RLM_BASE_URL."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Scripted:
        self._thread.start()
        assert self._ready.wait(TIMEOUT), "the server did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(TIMEOUT)
        if kind is None and self._strict:
            asked = [request.messages for request in self.requests if request.messages]
            refused = {at: found for at, messages in enumerate(asked) if (found := problems(messages))}
            assert not self.refused, f"the Responses API refuses requests: {self.refused}"
            assert not refused, f"strict providers refuse requests of these numbers: {refused}"

    def wait(self, condition: Callable[[Scripted], object]) -> None:
        """Wait until `condition(server)` holds.

        Raises:
            TimeoutError: it does not hold in time.
        """
        until(lambda: condition(self), lambda: f"{len(self.requests)} requests, {dict(self.seen)}")

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=1024, ssl=self._tls)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)  # accepted connections leak unless they get their transport before `close`
        server.close()
        while rest := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)
        for writer in self._writers:
            with suppress(AttributeError):  # Python 3.11.2 raises it for a TLS connection that is aborted twice
                writer.transport.abort()
        await asyncio.sleep(0)  # lets them close

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._talks.append(asyncio.ensure_future(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen["connected"] += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except asyncio.CancelledError:
            pass  # the server stops; asyncio would report a cancelled connection task as an error
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            self.seen["left"] += 1
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Handle one request. False: the connection is closed."""
        request = await _read(reader)
        if request is None:
            return False
        if request.path.endswith("/models") and self._models is not None:
            answer = _models(self._models)
        elif request.method == "GET":
            answer = error(405 if request.path.endswith(_PATHS) else 404, "not here")
        else:
            self.requests.append(request)
            answer = self._refused(request) or self._script(request)
        await _wait(answer.delay, reader)
        if answer.ending == "reset":
            _reset(writer)
            return False
        return await _send(answer, request, reader, writer)

    def _refused(self, request: Request) -> Answer | None:
        """OpenAI's error for an invalid request; None if it is valid."""
        problem = responses.refusal(request.wire) if request.by_responses and self._strict else None
        if problem is None:
            return None
        self.refused.append(problem[0])
        return error(400, problem[0], kind="invalid_request_error")


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    wire, (method, path) = json.loads(body) if body else {}, first.split(" ")[:2]
    request = Request(path, headers, wire, time.monotonic(), wire, method)
    return replace(request, body=responses.chat_body(wire)) if request.by_responses and "input" in wire else request


async def _wait(seconds: float, reader: asyncio.StreamReader) -> None:
    """Wait; stop early if the client closes the connection."""
    if seconds <= 0:
        return
    with suppress(TimeoutError, asyncio.TimeoutError):
        await asyncio.wait_for(reader.read(1), seconds)
        raise ConnectionResetError("the client left")


async def _send(answer: Answer, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    if request.by_responses and isinstance(answer.body, dict):
        answer = replace(answer, body=responses.response(answer.body, request.wire))
    streamed = request.streamed and isinstance(answer.body, dict)
    pieces = list(_stream(answer, request)) if streamed else [_whole(answer)]
    if answer.ending != "whole" and streamed:
        pieces = pieces[: len(pieces) // 2]
    elif answer.ending != "whole":
        pieces[0] = pieces[0][: len(pieces[0]) // 2]
    pieces.insert(0, _head(answer, streamed, len(_whole(answer))))
    if answer.ending == "whole" and streamed:
        pieces.append(b"0\r\n\r\n")
    for piece in pieces if answer.pause or answer.gate else [b"".join(pieces)]:
        writer.write(piece)
        await writer.drain()
        await _wait(answer.pause, reader)
        while answer.gate and not answer.gate(piece):
            await _wait(0.01, reader)
    if answer.ending == "hang":
        await _wait(3600, reader)
    return answer.ending == "whole"


def _head(answer: Answer, streamed: bool, length: int) -> bytes:
    kind = "text/event-stream" if streamed else "application/json"
    size = {"Transfer-Encoding": "chunked"} if streamed else {"Content-Length": str(length)}
    headers = {"Content-Type": kind, **size, **answer.headers}
    lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _whole(answer: Answer) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()


def _stream(answer: Answer, request: Request) -> Iterator[bytes]:
    assert isinstance(answer.body, dict)
    if request.by_responses:
        for event in responses.events(answer.body, answer.piece):
            name = f"event: {event['type']}\n" if "type" in event else ""
            yield _chunked(f"{name}data: {json.dumps(event)}\n\n".encode())
        return
    options = request.body.get("stream_options") or {}
    for chunk in chunks(answer.body, answer.piece, with_usage=bool(options.get("include_usage"))):
        yield _chunked(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    yield _chunked(b"data: [DONE]\n\n")


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunks(body: Json, piece: int = 20, *, with_usage: bool = True) -> Iterator[Json]:
    """A completion as the pieces of its stream. A body that is no completion is one piece."""
    if not body.get("choices"):
        yield body
        return
    head = {**body, "object": "chat.completion.chunk", "usage": None}
    for choice in body["choices"]:
        first, rest = _token_data(choice)
        for delta in _deltas(choice.get("message") or {}, piece):
            yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None, **first}]}
            first = dict.fromkeys(first)
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice.get("finish_reason"), **rest}]}
    if with_usage and body.get("usage") is not None:
        yield {**head, "choices": [], "usage": body["usage"]}


def _token_data(choice: Json) -> tuple[Json, Json]:
    """The data beside a message: of its first half, and of the rest. Data about the prompt is not split."""
    beside = {name: value for name, value in choice.items() if name not in ("index", "message", "finish_reason")}
    lists = {name: value for name, value in beside.items() if isinstance(value, list) and "prompt" not in name}
    content = (beside.get("logprobs") or {}).get("content") or []
    first: Json = {name: value[: len(value) // 2] for name, value in lists.items()}
    rest = beside | {name: value[len(value) // 2 :] for name, value in lists.items()}
    if content:
        half = len(content) // 2
        first["logprobs"], rest["logprobs"] = {"content": content[:half]}, {"content": content[half:]}
    return first, rest


def _deltas(whole: Json, piece: int) -> Iterator[Json]:
    yield {"role": "assistant", "content": None}
    for name, value in whole.items():
        if name == "tool_calls":
            for index, wanted in enumerate(value or ()):
                yield from _call_deltas(index, wanted, piece)
        elif isinstance(value, str) and name != "role":
            yield from ({name: part} for part in responses.cut(value, piece))
        elif name != "role" and value is not None:
            yield {name: value}


def _call_deltas(index: int, wanted: Json, piece: int) -> Iterator[Json]:
    function = wanted["function"]
    first = {**wanted, "index": index, "function": {**function, "arguments": ""}}
    if not isinstance(function["arguments"], str):
        yield {"tool_calls": [{**wanted, "index": index}]}
        return
    yield {"tool_calls": [first]}
    for part in responses.cut(function["arguments"], piece):
        yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


def _models(models: Sequence[str | Json]) -> Answer:
    entries = ({"id": model} if isinstance(model, str) else model for model in models)
    return Answer({"object": "list", "data": [{"object": "model", **entry} for entry in entries]})


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close the socket with an RST, by disabling linger."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part.get("text", "") for part in parts if isinstance(part, dict))
