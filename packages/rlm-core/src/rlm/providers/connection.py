"""The connections to one endpoint, through the openai SDK (2.x and 3.x). Their errors are converted to faults."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rlm.config.environment import network_settings
from rlm.process.programs import know_processor
from rlm.providers.body import read_body
from rlm.providers.endpoint import OPENAI_HOST, Endpoint, Proxy, proxy_for, speaks_tls, tls_context
from rlm.providers.error_body import QUOTED
from rlm.providers.errors import Fault, HTTPError, TransportError, embedded_fault
from rlm.providers.lean_import import import_openai
from rlm.providers.limiter import Gate, RequestLimiter
from rlm.providers.normalize import strip_surrogates
from rlm.providers.ports import Assembler, OnData
from rlm.providers.sdk_clients import SDKClients
from rlm.providers.transport_errors import BROKE_OFF, refuses_url, transport_error
from rlm.providers.url_problems import NO_URL, for_display, url_problem
from rlm.text.clip import one_line

CONNECT_TIMEOUT = 10.0
GET_TIMEOUT = 20.0
MAX_REDIRECTS = 5

_OUR_HEADERS = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"}
    | {"idempotency-key", "x-acp-model-request-id", "transfer-encoding", "user-agent", "x-rlm-depth"}
)
_TO_GET = frozenset({301, 302, 303})
_REDIRECTS = _TO_GET | {307, 308}
_TRANSPORT = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "anyio", "socksio"})


class Connection:
    """The SDK's clients, created at their first use. `read_timeout`: seconds without a byte."""

    def __init__(self, endpoint: Endpoint, read_timeout: float, gate: Gate | None = None) -> None:
        """`gate`: a gate that limits these requests together with those of other clients."""
        endpoint.check()
        self.endpoint = endpoint
        self.read_timeout = read_timeout
        self._host = endpoint.host
        self.limiter = RequestLimiter(self._host, gate)
        self.reached = False
        """True when the server has answered at least once."""
        self._proxy: Proxy | None = None
        self._clients: SDKClients | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> SDKClients:
        """Return the SDK's clients. Call this early: loading the SDK takes half a second, in a thread.

        Raises:
            ConfigError: the environment names a proxy or certificates that cannot be used.
        """
        async with self._opening:
            if self._clients is None:
                self._clients = await asyncio.to_thread(self._make)
        return self._clients

    async def close(self) -> None:
        if self._clients is not None:
            await self._clients.close()

    async def post(
        self,
        path: str,
        body: dict[str, Any],
        headers: dict[str, Any],
        on_data: OnData,
        new_assembler: Callable[[], Assembler],
    ) -> Any:
        """Send `body` and return the reply as JSON. `new_assembler` is called if the reply is streamed.

        Raises:
            HTTPError, TransportError: there is no reply.
        """
        clients = self._clients or await self.open()
        try:
            with _map_errors(self._host, self._proxy):
                async with clients.borrow() as sdk, await _post(sdk, path, body, headers) as stream:
                    self.reached = True
                    return await read_body(stream.response, new_assembler, on_data)
        except HTTPError:
            self.reached = True
            raise
        except TransportError as fault:
            raise await self._explained(fault) from fault

    async def get(self, path: str) -> Any:
        """Return the JSON of a GET request, without retries.

        Raises:
            HTTPError, TransportError: there is no reply.
        """
        clients = await self.open()
        options = {"headers": self.authorization, "max_retries": 0, "timeout": GET_TIMEOUT}
        with _map_errors(self._host, self._proxy):
            async with clients.borrow() as sdk:
                return await sdk.get(path, options=options, cast_to=object)

    @property
    def authorization(self) -> dict[str, Any]:
        """The authorization header, set in each request: otherwise the SDK would use one of OPENAI_CUSTOM_HEADERS."""
        key = self.endpoint.api_key
        return {"Authorization": f"Bearer {key}" if key else import_openai().Omit()}

    def _make(self) -> SDKClients:
        environ = network_settings()
        self._proxy = proxy_for(self.endpoint, environ)
        verify = tls_context(self.endpoint, environ)
        openai = import_openai()
        know_processor()
        if verify is True:
            verify = _http_library(openai).create_ssl_context(trust_env=False)  # once, for all clients
        return SDKClients(partial(self._client, openai, verify))

    def _client(self, openai: Any, verify: Any) -> Any:
        is_openai = f"{self.endpoint.url}/".startswith(OPENAI_HOST)
        hooks = {"request": [] if is_openai else [_remove_foreign_headers], "response": [_refuse_redirect]}
        options = {"proxy": self._proxy.url} if self._proxy else {}
        # the environment is read above: the HTTP client would fail on some of its values
        with _checked_url(self._proxy or self.endpoint):
            http = openai.DefaultAsyncHttpxClient(
                verify=verify, trust_env=False, event_hooks=hooks, max_redirects=MAX_REDIRECTS, **options
            )
        with _checked_url(self.endpoint):
            return openai.AsyncOpenAI(
                base_url=self.endpoint.url,
                default_query=self.endpoint.query,
                api_key=self.endpoint.api_key or "none",  # the SDK requires one; each request sets its own header
                max_retries=0,  # `Retrying` does all retries, so that there is one backoff and one count
                timeout=openai.Timeout(self.read_timeout, connect=CONNECT_TIMEOUT),
                http_client=http,
            )

    async def _explained(self, fault: TransportError) -> TransportError:
        """Return a better fault if the server closed a plain HTTP connection because it expects https."""
        unclear = fault.reason == BROKE_OFF and not (self.reached or self._proxy or self.endpoint.secure)
        if not unclear or not await speaks_tls(self.endpoint):
            return fault
        return TransportError(
            f"{self._host} uses https, not http", lasting=True, hint="Set RLM_BASE_URL to an https:// URL."
        )


def _http_library(openai: Any) -> Any:
    """Return the HTTP library of the SDK: httpx, or since version 3.0 httpx2."""
    return sys.modules[openai.DefaultAsyncHttpxClient.__base__.__module__.partition(".")[0]]


async def _remove_foreign_headers(request: Any) -> None:
    """Remove headers that the SDK adds from OPENAI_ORG_ID, OPENAI_CUSTOM_HEADERS and others: only OpenAI gets these."""
    names = {name.lower().decode("latin-1") for name, _ in request.headers.raw}  # as bytes: `headers` decodes each
    for name in names - _OUR_HEADERS:
        if not name.startswith("x-stainless-"):
            del request.headers[name]


async def _post(sdk: Any, path: str, body: dict[str, Any], headers: dict[str, Any]) -> Any:
    """Return the response with its body unread, as a stream of the SDK. The stream's own decoder is not used.

    `chat.completions.create` would process the whole history in Python: 136 ms at 400 turns; this takes 3 ms.
    """
    options = {"headers": headers, "max_retries": 0}
    kind = import_openai().AsyncStream[object]
    post = partial(sdk.post, path, options=options, cast_to=object, stream=True, stream_cls=kind)
    try:
        return await post(body=body)
    except ValueError:  # a lone surrogate, or a number that JSON cannot represent
        return await post(body=strip_surrogates(body))


async def _refuse_redirect(response: Any) -> None:
    """Refuse a redirect that turns the POST into a GET, or to an invalid URL. All others are followed."""
    if response.status_code not in _REDIRECTS:
        return
    location = response.headers.get("location", "")
    where = for_display(one_line(location, QUOTED))
    if response.status_code in _TO_GET:
        raise TransportError(f"the server redirects to {where}", lasting=True, hint="Set RLM_BASE_URL to that URL.")
    if why := _target_problem(response.request.url, location):
        hint = "Check RLM_BASE_URL."
        raise TransportError(f"the server redirects to {where}, which cannot be used: {why}", lasting=True, hint=hint)


def _target_problem(url: Any, location: str) -> str:
    """Return why a redirect cannot be followed, by our rules or by those of the HTTP client; empty if it can."""
    if why := url_problem(location):
        return why
    try:
        target = url.join(location)
    except Exception as error:
        if not refuses_url(error):
            raise
        return NO_URL
    return "" if target.scheme in ("http", "https") else "it is neither http nor https"


@contextmanager
def _checked_url(owner: Endpoint | Proxy) -> Iterator[None]:
    """Name the URL that the HTTP client refuses. The client's own message may quote a part of a password."""
    try:
        yield
    except Exception as error:
        if not refuses_url(error):
            raise
        raise owner.refused(NO_URL) from None


@contextmanager
def _map_errors(host: str, proxy: Proxy | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        fault = _fault_of(error, host, proxy)
        if fault is None:
            raise
        raise fault from error


def _fault_of(error: Exception, host: str, proxy: Proxy | None) -> Fault | None:
    openai = import_openai()
    match error:
        case openai.APIStatusError():
            return HTTPError(error.response.status_code, error.response.text, error.response.headers)
        case openai.APIConnectionError(__cause__=TransportError() as fault):
            return fault
        case openai.APIConnectionError() | OSError():
            return transport_error(error, host, proxy)
        case openai.APIError():  # an error object in the stream
            return embedded_fault(error.body)
    # while a body is read, the SDK passes on the HTTP client's exceptions unchanged
    return transport_error(error, host, proxy) if type(error).__module__.partition(".")[0] in _TRANSPORT else None
