"""Models behind the Chat Completions API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from rlm.core.adaptation import Adaptation
from rlm.core.events import Delta
from rlm.core.messages import Message, Reply, Schema, Wire, size
from rlm.core.ports import Sink, ToolChoice
from rlm.providers.connection import Connection
from rlm.providers.endpoint import Endpoint
from rlm.providers.exchange import Exchange
from rlm.providers.learned import Learned
from rlm.providers.normalize import strip_surrogates
from rlm.providers.retrying import Retrying, RetryPolicy
from rlm.text.redact import Redactor

BUDGET = 300.0
"""Seconds that a failing request is retried."""
READ_TIMEOUT = 600.0
"""Seconds without a byte: models think long."""
NOTICE = 25.0
"""Seconds of silence after which whoever watches hears that it is still waited."""

_OURS = frozenset({"stream", "stream_options"})


class OpenAIClient:
    """What all agents of a process share of one endpoint: its connections, closed with the context, and what it takes.

    `budget`, `read_timeout`, `notice` and `first_pause`, the first time between two tries, are seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sdk_max_retries: int = 5,
        *,
        budget: float = BUDGET,
        read_timeout: float = READ_TIMEOUT,
        notice: float = NOTICE,
        first_pause: float = 0.5,
    ) -> None:
        self.connection = Connection(endpoint, read_timeout)
        self.policy = RetryPolicy(budget, first_pause, sdk_max_retries, notice)
        self._learned: dict[str, Learned] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.connection.close()

    async def open(self) -> Any:
        """See `Connection.open`."""
        return await self.connection.open()

    def model(self, name: str, params: Wire | None = None, *, depth: int, sink: Sink, stream: bool) -> OpenAIModel:
        """`params` go into each request; `depth` is the agent's, root 0; `stream`: somebody watches."""
        return OpenAIModel(self, name, params or {}, depth=depth, sink=sink, stream=stream)

    def learned(self, model: str) -> Learned:
        """What is known of a model here, by all agents alike."""
        return self._learned.setdefault(model, Learned())


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
        """See `rlm.core.ports.Model`. What was told of a stream that broke off comes again after a `Retried`."""
        connection = self._client.connection
        retrying = Retrying(self._client.policy, self._sink, connection, redact=self._without_key)

        def heard(text: str | None) -> None:
            retrying.heard(text)
            if text:
                self._sink(Delta(strip_surrogates(text)))

        exchange = Exchange(
            connection,
            self._body(messages, tools, tool_choice),
            self._client.learned(self._name),
            heard,
            stream=self._stream,
            depth=self._depth,
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
        key = self._client.connection.endpoint.api_key
        return Redactor([key] if key else []).text(text)


def _size(messages: Sequence[Message]) -> int:
    return sum(map(size, messages))
