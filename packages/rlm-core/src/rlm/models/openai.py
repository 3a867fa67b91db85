"""Models behind the Chat Completions API, through the openai SDK (2.x and 3.x)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

from rlm.adaptation import Adaptation
from rlm.config import network_settings
from rlm.errors import MessagesRefused
from rlm.events import Delta
from rlm.messages import Message, Reply, Schema, Wire, size
from rlm.models.endpoint import OPENAI_HOST, Endpoint, Proxy, proxy_for, speaks_tls, tls_context
from rlm.models.faults import Breakdown, Fault, Refusal, breakdown, inside, judge
from rlm.models.lean_import import import_openai
from rlm.models.learned import Learned, refuses_form, refuses_usage, wanted_adaptation
from rlm.models.normalize import mended, reply
from rlm.models.reading import read_body
from rlm.models.retrying import Retrying, RetryPolicy
from rlm.ports import Sink, ToolChoice
from rlm.process.programs import know_processor
from rlm.text.redact import Redactor
from rlm.version import VERSION

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
_TRANSPORT = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "anyio", "socksio"})


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
        endpoint.check()
        self.endpoint = endpoint
        self.policy = RetryPolicy(budget, first_pause, sdk_max_retries)
        self.proxy: Proxy | None = None
        self.reached = False
        """Whether the server has ever answered."""
        self._read_timeout = read_timeout
        self._learned: dict[str, Learned] = {}
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

    def learned(self, model: str) -> Learned:
        """What is known of a model here, by all agents alike."""
        return self._learned.setdefault(model, Learned())

    async def open(self) -> Any:
        """The SDK's client. Loading it takes half a second, which is spent in a thread; call it early.

        Raises:
            ConfigError: the environment names a proxy or certificates that cannot be used.
        """
        async with self._opening:
            if self._sdk is None:
                self._sdk = await asyncio.to_thread(self._make)
        return self._sdk

    def _make(self) -> Any:
        environ = network_settings()
        self.proxy = proxy_for(self.endpoint, environ)
        verify = tls_context(self.endpoint, environ)
        openai = import_openai()
        know_processor()
        hooks = {} if f"{self.endpoint.url}/".startswith(OPENAI_HOST) else {"request": [_only_ours]}
        way = {"proxy": self.proxy.url} if self.proxy else {}
        # what the environment says is read above; the HTTP client alone would fail on parts of it
        http = openai.DefaultAsyncHttpxClient(verify=verify, trust_env=False, event_hooks=hooks, **way)
        return openai.AsyncOpenAI(
            base_url=self.endpoint.url,
            default_query=self.endpoint.query,
            api_key=self.endpoint.api_key or "none",  # it wants one; each request says what is sent
            max_retries=0,  # `Retrying` makes them all, so that there is one backoff and one count
            timeout=openai.Timeout(self._read_timeout, connect=CONNECT_TIMEOUT),
            http_client=http,
        )


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
        self._stream = stream or params.get("stream") is True

    @property
    def name(self) -> str:
        return self._name

    @property
    def params(self) -> Wire:
        return self._params

    @property
    def adaptations(self) -> frozenset[Adaptation]:
        return frozenset(self._client.learned(self._name).adaptations)

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        """See `rlm.ports.Model`. What was told of a stream that broke off comes again after a `Retried`."""
        exchange = _Exchange(
            self._client,
            self._body(messages, tools, tool_choice),
            self._client.learned(self._name),
            self._sink,
            stream=self._stream,
            depth=self._depth,
        )
        retrying = Retrying(
            self._client.policy, self._sink, reached=lambda: self._client.reached, redact=self._without_key
        )
        return await retrying(lambda: exchange.attempt(partial(_size, messages)))

    def _body(self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice) -> Wire:
        body = self._params | {"model": self._name, "messages": [message.wire() for message in messages]}
        if tools:
            body["tools"] = [{"type": "function", "function": schema} for schema in tools]
        if tools and tool_choice == "none":
            body["tool_choice"] = "none"
        return body

    def _without_key(self, text: str) -> str:
        key = self._client.endpoint.api_key
        return Redactor([key] if key else []).text(text)


def _size(messages: Sequence[Message]) -> int:
    return sum(map(size, messages))


class _Exchange:
    """One request to the model and all tries of it. Every failure becomes a fault."""

    def __init__(
        self, client: OpenAIClient, body: Wire, learned: Learned, sink: Sink, *, stream: bool, depth: int
    ) -> None:
        self._client = client
        self._body = body
        self._learned = learned
        self._sink = sink
        self._wanted = stream
        self._stream = stream if learned.stream is None else learned.stream
        self._garbled = learned.garbled
        self._switched = False
        self._sent = 0
        key = client.endpoint.api_key
        self._headers = {
            "X-RLM-Depth": str(depth),
            # named each time, or the SDK would take one from OPENAI_CUSTOM_HEADERS
            "Authorization": f"Bearer {key}" if key else import_openai().Omit(),
            "Idempotency-Key": f"rlm-{uuid.uuid4()}",  # the same for each try: a proxy can tell a retry from a new turn
            "User-Agent": f"rlm/{VERSION}",
        }

    async def attempt(self, prompt_size: Callable[[], int]) -> Reply:
        """One try, or a second at once without what the server refused of the first.

        Raises:
            Refusal, Breakdown: it came to nothing.
            MessagesRefused: the messages must be adapted first.
        """
        with_usage = self._learned.with_usage
        try:
            made = reply(await self._fetch(with_usage=with_usage), prompt_size)
        except Refusal as fault:
            if not self._concede(fault, with_usage=with_usage):
                self._ask_for_adaptation(fault)
                raise
            return await self.attempt(prompt_size)
        except Breakdown as fault:
            self._garbled |= fault.unreadable and self._stream
            self._stream ^= fault.unreadable  # the next try asks for the other form
            raise
        if self._stream != self._wanted:
            self._learned.stream, self._learned.garbled = self._stream, self._garbled
        return made

    def _concede(self, fault: Refusal, *, with_usage: bool) -> bool:
        """Whether the request is worth another try without what was refused of its form."""
        if self._stream and with_usage and refuses_usage(fault):
            self._learned.with_usage = False
            return True
        if self._switched or not refuses_form(fault, streamed=self._stream):
            return False
        self._switched = True
        self._stream = not self._stream
        return True

    def _ask_for_adaptation(self, fault: Refusal) -> None:
        adaptation = wanted_adaptation(fault, self._body)
        if adaptation is not None:
            self._learned.adaptations.add(adaptation)
            raise MessagesRefused(judge(fault).reason)

    async def _fetch(self, *, with_usage: bool) -> Any:
        sdk = await self._client.open()
        via = self._client.proxy or self._client.endpoint.host
        try:
            with _faults(str(via)):
                async with await self._post(sdk, self._form(with_usage=with_usage)) as stream:
                    self._client.reached = True
                    _check_redirects(stream.response)
                    return await read_body(stream.response, lambda text: self._sink(Delta(mended(text))))
        except Refusal:
            self._client.reached = True
            raise
        except Breakdown as fault:
            raise await self._explained(fault) from fault

    def _form(self, *, with_usage: bool) -> Wire:
        if not self._stream:
            # said only where the server's stream cannot be read: some refuse the parameter, whatever its value
            return self._body | ({"stream": False} if self._garbled else {})
        return self._body | {"stream": True} | ({"stream_options": {"include_usage": True}} if with_usage else {})

    async def _post(self, sdk: Any, body: Wire) -> Any:
        """The response with its body unread, as a stream of the SDK's, whose own decoder is not used.

        `chat.completions.create` would walk the whole history in Python: 136 ms at 400 turns, this takes 3.
        """
        headers = self._headers | {"x-stainless-retry-count": str(self._sent)}
        self._sent += 1
        post = partial(
            sdk.post,
            "/chat/completions",
            options={"headers": headers, "max_retries": 0},
            cast_to=object,
            stream=True,
            stream_cls=import_openai().AsyncStream[object],
        )
        try:
            return await post(body=body)
        except ValueError:  # half a letter, or a number that JSON has not
            return await post(body=mended(body))

    async def _explained(self, fault: Breakdown) -> Breakdown:
        """A server that breaks off plain HTTP may want https."""
        endpoint, known = self._client.endpoint, self._client.reached or self._client.proxy
        if known or endpoint.secure or not fault.reason.startswith("the connection broke off"):
            return fault
        if not await speaks_tls(endpoint):
            return fault
        return Breakdown(
            f"{endpoint.host} speaks https, not http", lasting=True, hint="Set RLM_BASE_URL to an https:// URL."
        )


def _check_redirects(response: Any) -> None:
    """A redirect that turns a POST into a GET leads nowhere."""
    moved = [each for each in response.history if each.status_code in (301, 302, 303)]
    if moved:
        where = moved[-1].headers.get("location", "")
        raise Breakdown(f"the server redirects to {where}", lasting=True, hint="Set RLM_BASE_URL so.")


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
            return _refusal(error.response)
        case openai.APIConnectionError() | OSError():
            return breakdown(error, host)
        case openai.APIError():  # an error object in the stream
            return inside(error.body)
    # while a body is read, the errors of the HTTP client come through as they are
    return breakdown(error, host) if type(error).__module__.partition(".")[0] in _TRANSPORT else None


def _refusal(response: Any) -> Fault:
    try:
        _check_redirects(response)
    except Breakdown as fault:
        return fault
    return Refusal(response.status_code, response.text, response.headers)
