"""The models of one endpoint: the client that they share, and the model of one agent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Self

from rlm.config.readers import ApiChoice
from rlm.core.adaptation import Adaptation
from rlm.core.messages import Message, Reply, Schema, Wire
from rlm.core.ports import Sink, ToolChoice
from rlm.providers.attempt import ModelRequest
from rlm.providers.catalog import Catalog
from rlm.providers.chat import ChatAPI
from rlm.providers.connection import Connection
from rlm.providers.endpoint import Endpoint
from rlm.providers.learned import Learned
from rlm.providers.limiter import Gate
from rlm.providers.ports import API, ModelPrompt
from rlm.providers.prices import PriceList
from rlm.providers.retrying import Retrying, RetryPolicy
from rlm.text.redact import Redactor

BUDGET = 300.0
"""Seconds for which a failing request is retried."""
READ_TIMEOUT = 600.0
"""Timeout in seconds without a byte: models may think for long."""
NOTICE = 25.0
"""Seconds without data after which a waiting message is shown."""

_OURS = frozenset({"stream", "stream_options"})


def api_for(endpoint: Endpoint, wanted: str = ApiChoice.AUTO) -> API:
    """Choose the API for an endpoint. OpenAI's newer models need Responses; most other servers have only chat."""
    responses = endpoint.is_openai if wanted == ApiChoice.AUTO else wanted == ApiChoice.RESPONSES
    if responses:
        from rlm.providers.responses import ResponsesAPI

        return ResponsesAPI()
    return ChatAPI()


class OpenAIClient:
    """The client of one endpoint, shared by all agents of a host: its connections, and what was learnt about it.

    The context manager's exit closes the connections. `budget`, `read_timeout`, `notice` and `first_pause` (the first
    pause between two tries) are seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sdk_max_retries: int = 5,
        *,
        api: str = ApiChoice.AUTO,
        budget: float = BUDGET,
        read_timeout: float = READ_TIMEOUT,
        notice: float = NOTICE,
        first_pause: float = 0.5,
        request_ids: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self.connection = Connection(endpoint, read_timeout, gate)
        self.policy = RetryPolicy(budget, first_pause, sdk_max_retries, notice)
        self.api = api_for(endpoint, api)
        self.prices = PriceList(endpoint)
        self.catalog = Catalog(partial(self.connection.get, "/models"), self.prices)
        self.request_ids = request_ids
        """If true, each request sends its id, for a trainer behind the endpoint."""
        self.learned: dict[str, Learned] = {}
        """What all agents have learnt about each model of the endpoint."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.catalog.close()
        await self.prices.close()
        await self.connection.close()

    async def open(self) -> None:
        """Open the connection, see `Connection.open`."""
        await self.connection.open()

    def model(
        self, name: str, params: Wire | None = None, *, depth: int, sink: Sink, stream: bool, cache_key: str = ""
    ) -> EndpointModel:
        """Create an agent's model. `params` go into each request. `depth`: root 0. `stream`: a user watches.

        OpenAI sends requests with the same `cache_key` to the same machines. Other providers do not get the parameter.
        """
        cached = {"prompt_cache_key": cache_key} if cache_key and self.connection.endpoint.is_openai else {}
        return EndpointModel(self, name, cached | (params or {}), depth=depth, sink=sink, stream=stream)


class EndpointModel:
    """One agent's model at an endpoint: a `rlm.core.ports.Model`. It retries as long as another try can help.

    After a broken stream it reports `Retried`, and the text of the message comes again from its start.
    """

    def __init__(self, client: OpenAIClient, name: str, params: Wire, *, depth: int, sink: Sink, stream: bool) -> None:
        self.name = name
        self.api = client.api.name
        self.params = {name: value for name, value in params.items() if name not in _OURS}
        self._client = client
        self._learned = client.learned.setdefault(name, Learned())
        self._depth = depth
        self._sink = sink
        self._stream = stream or params.get("stream") is True
        key = client.connection.endpoint.api_key
        self._redactor = Redactor([key] if key else [])

    @property
    def adaptations(self) -> frozenset[Adaptation]:
        return frozenset(self._learned.adaptations)

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        client = self._client
        retry = Retrying(client.connection, client.policy, self._sink, self._redactor, depth=self._depth)
        request = ModelRequest(
            client.connection,
            client.api,
            ModelPrompt(self.name, messages, tools, tool_choice, self.params),
            self._learned,
            retry.on_data,
            catalog=client.catalog,
            prices=client.prices,
            stream=self._stream,
            depth=self._depth,
            tell_id=client.request_ids,
        )
        return await retry.waits.during(retry.run(request.attempt))
