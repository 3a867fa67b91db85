"""Models behind the Chat Completions API, through the openai SDK (2.x and 3.x)."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from rlm.errors import ConfigError
from rlm.events import Delta
from rlm.messages import Message, Reply, Schema, Wire, size
from rlm.models.faults import Breakdown, Fault, Refusal, breakdown, inside, judge, web_page
from rlm.models.lean_import import import_openai
from rlm.models.retry import Patience
from rlm.models.sound import mended, reply
from rlm.models.stream import Assembler, Streams
from rlm.ports import Sink, ToolChoice
from rlm.process.programs import know_processor
from rlm.text.redact import Redactor

_OPENAI_HOST = "https://api.openai.com/"
OPENAI = f"{_OPENAI_HOST}v1"
BUDGET = 300.0
"""Seconds that a failing request is retried."""
READ_TIMEOUT = 600.0
"""Seconds without a byte: models think long."""
CONNECT_TIMEOUT = 10.0

_OUR_HEADERS = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
    | {"idempotency-key", "transfer-encoding", "user-agent", "x-rlm-depth"}
)
_OURS = frozenset({"stream", "stream_options"})
_TRANSPORT = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "anyio"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is. `base_url` None: OpenAI. `api_key` None: no key is sent."""

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return self.base_url or OPENAI

    @property
    def host(self) -> str:
        """Name and port, without a password that the URL may hold."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


class OpenAIClient:
    """The connections to one endpoint: one per process, made when first used, closed with the context.

    `budget`, `read_timeout` and `first_pause`, the first time between two tries, are seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sdk_max_retries: int = 5,
        *,
        budget: float = BUDGET,
        read_timeout: float = READ_TIMEOUT,
        first_pause: float = 0.5,
    ) -> None:
        if not endpoint.url.startswith(("http://", "https://")):
            raise ConfigError(f"The base URL {endpoint.url!r} must begin with http:// or https://.")
        self.endpoint = endpoint
        self.sdk_max_retries = sdk_max_retries
        self.budget = budget
        self.read_timeout = read_timeout
        self.first_pause = first_pause
        self.streams = Streams()
        self._sdk: Any = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sdk is not None:
            await self._sdk.close()

    def model(self, name: str, params: Wire | None = None, *, depth: int, sink: Sink, stream: bool) -> OpenAIModel:
        """`params` go into each request; `depth` is the agent's, root 0; `stream`: somebody watches."""
        return OpenAIModel(self, name, params or {}, depth=depth, sink=sink, stream=stream)

    async def open(self) -> Any:
        """The SDK's client. Loading it takes half a second, which is spent in a thread; call it early."""
        async with self._opening:
            if self._sdk is None:
                self._sdk = await asyncio.to_thread(self._make)
        return self._sdk

    def _make(self) -> Any:
        openai = import_openai()
        know_processor()
        url = self.endpoint.url
        hooks = {} if url.startswith(_OPENAI_HOST) else {"request": [_only_ours]}
        http = openai.DefaultAsyncHttpxClient(verify=_tls(url), event_hooks=hooks)
        return openai.AsyncOpenAI(
            base_url=url,
            api_key=self.endpoint.api_key or "none",  # it wants one; each request says what is sent
            max_retries=0,
            timeout=openai.Timeout(self.read_timeout, connect=CONNECT_TIMEOUT),
            http_client=http,
        )


def _tls(url: str) -> ssl.SSLContext | bool:
    """Reading the certificates takes 25 ms and more. Without them every certificate is refused, so none is trusted."""
    return True if url.startswith("https://") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _only_ours(request: Any) -> None:
    """The SDK adds what OPENAI_ORG_ID, OPENAI_CUSTOM_HEADERS and the like hold: for OpenAI, and nobody else."""
    for name in list(request.headers):
        if name not in _OUR_HEADERS and not name.startswith("x-stainless-"):
            del request.headers[name]


class OpenAIModel:
    """One agent's model."""

    def __init__(self, client: OpenAIClient, name: str, params: Wire, *, depth: int, sink: Sink, stream: bool) -> None:
        self._client = client
        self._name = name
        self._params = {name: value for name, value in params.items() if name not in _OURS}
        self._depth = depth
        self._sink = sink
        self._stream = stream

    @property
    def name(self) -> str:
        return self._name

    @property
    def params(self) -> Wire:
        return self._params

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        """See `rlm.ports.Model`. What was told of a stream that broke off comes again after a `Retried`."""
        body = self._body(messages, tools, tool_choice)
        patience = Patience(self._client.budget, self._sink, self._client.first_pause)
        while True:
            fault = await self._try(body, lambda: sum(map(size, messages)), patience)
            if isinstance(fault, Reply):
                return fault
            verdict = judge(fault)
            await patience.wait(replace(verdict, reason=self._without_key(verdict.reason)))

    def _body(self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice) -> Wire:
        body = self._params | {"model": self._name, "messages": [message.wire() for message in messages]}
        if tools:
            body["tools"] = [{"type": "function", "function": schema} for schema in tools]
        if tools and tool_choice == "none":
            body["tool_choice"] = "none"
        return body

    async def _try(self, body: Wire, prompt_size: Callable[[], int], patience: Patience) -> Reply | Refusal | Breakdown:
        """One try of ours. After the first it may hold some of the SDK's, for which the clock runs on."""
        retries = patience.sdk_retries(self._client.sdk_max_retries)
        seconds = patience.left + self._client.read_timeout if retries else None
        call = _Call(await self._client.open(), self._client.endpoint.host, self._options(retries), self._sink)
        try:
            async with asyncio.timeout(seconds):
                return reply(await self._ask(call, body), prompt_size)
        except (Refusal, Breakdown) as fault:
            return fault
        except TimeoutError:
            return Breakdown("no answer in time")

    async def _ask(self, call: _Call, body: Wire) -> Any:
        streams = self._client.streams
        if not (self._stream and streams.possible):
            return await call.whole(body)
        with_usage = streams.with_usage
        try:
            return await call.streamed(body, with_usage=with_usage)
        except Refusal as fault:
            if not streams.concede(fault.status, fault.text, with_usage=with_usage):
                raise
        return await self._ask(call, body)

    def _options(self, retries: int) -> Wire:
        key = self._client.endpoint.api_key
        # named each time, or the SDK would take one from OPENAI_CUSTOM_HEADERS
        authorization = f"Bearer {key}" if key else import_openai().Omit()
        headers = {"X-RLM-Depth": str(self._depth), "Authorization": authorization}
        return {"headers": headers, "max_retries": retries}

    def _without_key(self, text: str) -> str:
        key = self._client.endpoint.api_key
        return Redactor([key] if key else []).text(text)


@dataclass(frozen=True, slots=True)
class _Call:
    """One request through the SDK. Every failure becomes a fault."""

    sdk: Any
    host: str
    options: Wire
    sink: Sink

    async def whole(self, body: Wire) -> Any:
        return _read(await self._post(body, cast_to=str))

    async def streamed(self, body: Wire, *, with_usage: bool) -> Any:
        body = body | {"stream": True} | ({"stream_options": {"include_usage": True}} if with_usage else {})
        stream = await self._post(body, cast_to=object, stream=True, stream_cls=import_openai().AsyncStream[object])
        with _faults(self.host):
            async with stream:
                if "event-stream" not in stream.response.headers.get("content-type", ""):
                    return _read((await stream.response.aread()).decode(errors="replace"))
                return await self._assemble(stream)

    async def _assemble(self, stream: AsyncIterable[Any]) -> Wire:
        assembler = Assembler()
        async for chunk in stream:
            if text := assembler.add(chunk):
                self.sink(Delta(mended(text)))
        return assembler.body()

    async def _post(self, body: Wire, **how: Any) -> Any:
        # `chat.completions.create` would walk the whole history in Python: 136 ms at 400 turns, this takes 3
        with _faults(self.host):
            try:
                return await self.sdk.post("/chat/completions", body=body, options=self.options, **how)
            except UnicodeEncodeError:
                return await self.sdk.post("/chat/completions", body=mended(body), options=self.options, **how)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        page = web_page(text)
        raise Breakdown(f"{page} in place of an answer" if page else "the reply is cut off, or no JSON") from None


@contextmanager
def _faults(host: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        fault = _fault(error, host)
        if fault is None:
            raise
        raise fault from error


def _fault(error: Exception, host: str) -> Fault | None:
    openai = import_openai()
    match error:
        case openai.APIStatusError():
            return Refusal(error.status_code, error.response.text, error.response.headers)
        case openai.APIConnectionError() | OSError():
            return breakdown(error, host)
        case openai.APIError():  # an error object in the stream
            return inside(error.body)
        case json.JSONDecodeError():
            return Breakdown("the stream holds something that is no JSON")
    # openai 2.x lets the errors of httpx through while it streams
    return breakdown(error, host) if type(error).__module__.partition(".")[0] in _TRANSPORT else None
