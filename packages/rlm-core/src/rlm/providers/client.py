"""The models of one endpoint: the client that they share, and the model of one agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from rlm.core.adaptation import Adaptation
from rlm.core.messages import Message, Reply, Schema, Wire, size
from rlm.core.ports import Sink, ToolChoice
from rlm.providers.attempt import ModelRequest
from rlm.providers.catalog import Catalog, no_such_model
from rlm.providers.chat import ChatAPI
from rlm.providers.connection import Connection
from rlm.providers.endpoint import Endpoint
from rlm.providers.errors import HTTPError, TransportError, is_unknown_model
from rlm.providers.learned import Learned
from rlm.providers.limiter import Gate
from rlm.providers.ports import API, Attempt, Heard, ModelPrompt
from rlm.providers.prices import PriceList
from rlm.providers.responses import ResponsesAPI
from rlm.providers.retrying import Retrying, RetryPolicy
from rlm.text.redact import Redactor

BUDGET = 300.0
"""Seconds for which a failing request is retried."""
READ_TIMEOUT = 600.0
"""Timeout in seconds without a byte: models may think for long."""
NOTICE = 25.0
"""Seconds without data after which a waiting message is shown."""

AUTO = "auto"
_OURS = frozenset({"stream", "stream_options"})


def api_for(endpoint: Endpoint, wanted: str = AUTO) -> API:
    """Choose the API for an endpoint. OpenAI's newer models need Responses; most other servers have only chat."""
    responses = endpoint.is_openai if wanted == AUTO else wanted == ResponsesAPI.name
    return ResponsesAPI() if responses else ChatAPI()


class OpenAIClient:
    """The client of one endpoint, shared by all agents of a process: its connections, and what was learnt about it.

    The context manager's exit closes the connections. `budget`, `read_timeout`, `notice` and `first_pause` (the first
    pause between two tries) are seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        sdk_max_retries: int = 5,
        *,
        api: str = AUTO,
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
        self._learned: dict[str, Learned] = {}

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
    ) -> Retrying:
        """Create an agent's model. `params` go into each request. `depth`: root 0. `stream`: a user watches.

        OpenAI sends requests with the same `cache_key` to the same machines. Other providers do not get the parameter.
        """
        key = self.connection.endpoint.api_key
        cached = {"prompt_cache_key": cache_key} if cache_key and self.connection.endpoint.is_openai else {}
        provider = EndpointModel(self, name, cached | (params or {}), depth=depth, stream=stream)
        return Retrying(provider, self.connection, self.policy, sink, Redactor([key] if key else []), depth=depth)

    async def unknown_model(self, model: str) -> TransportError | None:
        """Return a better error for a refused model name, if the endpoint's list does not contain it; else None."""
        try:
            names = list(await self.catalog.models())
        except Exception:  # noqa: BLE001 - many servers have no such list
            return None
        if not names or model in names:
            return None
        return TransportError(no_such_model(model, self.connection.endpoint.host, names), lasting=True)

    def learned(self, model: str) -> Learned:
        """Return what all agents have learnt about a model at this endpoint."""
        return self._learned.setdefault(model, Learned())


class EndpointModel:
    """One agent's model at an endpoint: a `rlm.providers.ports.Provider`."""

    def __init__(self, client: OpenAIClient, name: str, params: Wire, *, depth: int, stream: bool) -> None:
        self.name = name
        self.params = {name: value for name, value in params.items() if name not in _OURS}
        self._client = client
        self._depth = depth
        self._stream = stream or params.get("stream") is True

    @property
    def api(self) -> str:
        return self._client.api.name

    @property
    def adaptations(self) -> frozenset[Adaptation]:
        return frozenset(self._client.learned(self.name).adaptations)

    def request(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice, heard: Heard
    ) -> Attempt:
        request = ModelRequest(
            self._client.connection,
            self._client.api,
            ModelPrompt(self.name, messages, tools, tool_choice, self.params),
            self._client.learned(self.name),
            heard,
            prices=self._client.prices,
            stream=self._stream,
            depth=self._depth,
            tell_id=self._client.request_ids,
        )
        return partial(self._attempt, request, lambda: sum(map(size, messages)))

    async def _attempt(self, request: ModelRequest, prompt_size: Callable[[], int]) -> Reply:
        try:
            return await request.attempt(prompt_size)
        except HTTPError as fault:
            if is_unknown_model(fault) and (better := await self._client.unknown_model(self.name)):
                raise better from fault
            raise
