"""Adapter for the package `mcp`, major versions 1 and 2: all that rlm knows about it is here.

Tools and results are passed on as the JSON of the specification, which is the same in both. Version 2 first tries the
stateless protocol of 2026-07-28, and falls back by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

from rlm.errors import ConfigError, McpError
from rlm.version import VERSION

MISSING = "MCP servers need the package `mcp`: ./install.sh --with mcp"
_LOGGERS = ("mcp", "client", "httpx", "httpx2", "httpcore", "httpcore2")  # their messages would go to the terminal

OnProgress = Callable[[float, float | None, str], None]
"""Called with the progress, the total if known, and a message."""
Transport = AbstractAsyncContextManager[Any]
"""The package's transport to a server: a stream of messages to read, and one to write."""
Wire = dict[str, Any]


class McpSession(Protocol):
    """A ready connection to one server."""

    instructions: str

    async def tools(self, cursor: str | None) -> tuple[list[Wire], str | None]:
        """Return a page of the server's tools, and the cursor of the next page."""
        ...

    async def call(self, tool: str, arguments: Wire, on_progress: OnProgress) -> Wire:
        """Call a tool and return its result. Cancelling this informs the server.

        Raises:
            Exception: any error; `reason_of` describes it.
        """
        ...


async def load() -> None:
    """Import the package in a thread, because the import takes half a second and more.

    Raises:
        ConfigError: the package is not installed.
    """
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        await asyncio.to_thread(_import)
    except ImportError as error:
        raise ConfigError(MISSING if error.name == "mcp" else f"The package `mcp` cannot be used: {error}.") from None


def _import() -> None:
    import mcp
    import mcp.client.streamable_http  # noqa: F401


def is_version_2() -> bool:
    """Return whether the major version of the package is 2."""
    import mcp

    return hasattr(mcp, "Client")


def _types() -> Any:
    """The package's models; their types differ between the two major versions."""
    from mcp import types

    return types


@asynccontextmanager
async def open_session(transport: Transport, on_change: Callable[[], None]) -> AsyncIterator[McpSession]:
    """Open a session. `on_change` is called when the server reports that its tools changed."""

    async def hear(message: Any) -> None:
        if "ToolListChanged" in type(getattr(message, "root", message)).__name__:
            on_change()

    if is_version_2():
        async with _second_client(transport, hear) as client:
            yield _SessionV2(client)
        return
    from mcp import ClientSession

    async with transport as streams:
        info = _types().Implementation(name="rlm", version=VERSION)
        async with ClientSession(streams[0], streams[1], client_info=info, message_handler=hear) as session:
            begun = await session.initialize()
            yield _SessionV1(session, begun.instructions or "")


def _second_client(transport: Transport, hear: Callable[[Any], Awaitable[None]]) -> AbstractAsyncContextManager[Any]:
    import mcp

    client: Any = vars(mcp)["Client"]
    info = mcp.Implementation(name="rlm", version=VERSION)
    opened: AbstractAsyncContextManager[Any] = client(transport, client_info=info, message_handler=hear, cache=None)
    return opened


class _SessionV1:
    def __init__(self, session: Any, instructions: str) -> None:
        self.instructions = instructions
        self._session = session

    async def tools(self, cursor: str | None) -> tuple[list[Wire], str | None]:
        params = _types().PaginatedRequestParams(cursor=cursor) if cursor else None
        page = await self._session.list_tools(params=params)
        return [_wire(tool) for tool in page.tools], page.nextCursor

    async def call(self, tool: str, arguments: Wire, on_progress: OnProgress) -> Wire:
        number = getattr(self._session, "_request_id", None)  # of the request that is sent next
        try:
            return _wire(await self._session.call_tool(tool, arguments, progress_callback=_listener(on_progress)))
        except asyncio.CancelledError:
            if number is not None:
                await asyncio.shield(asyncio.ensure_future(self._cancel(number)))
            raise

    async def _cancel(self, number: int) -> None:
        """Send the cancel message that the specification requires; version 1 only stops listening."""
        types = _types()
        params = types.CancelledNotificationParams(requestId=number, reason="the cell was interrupted")
        note = types.ClientNotification(types.CancelledNotification(method="notifications/cancelled", params=params))
        try:
            async with asyncio.timeout(1):
                await self._session.send_notification(note)
        except Exception as error:  # noqa: BLE001 - the connection has ended, so there is nothing to cancel
            logging.getLogger(__name__).debug("not cancelled: %s", error)


class _SessionV2:
    def __init__(self, client: Any) -> None:
        self.instructions = client.instructions or ""
        self._client = client

    async def tools(self, cursor: str | None) -> tuple[list[Wire], str | None]:
        page = await self._client.list_tools(cursor=cursor)
        return [_wire(tool) for tool in page.tools], page.next_cursor

    async def call(self, tool: str, arguments: Wire, on_progress: OnProgress) -> Wire:
        return _wire(await self._client.call_tool(tool, arguments, progress_callback=_listener(on_progress)))


def _wire(model: Any) -> Wire:
    wire: Wire = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return wire


def _listener(on_progress: OnProgress) -> Callable[[float, float | None, str | None], Awaitable[None]]:
    async def hear(done: float, total: float | None, message: str | None) -> None:
        on_progress(done, total, message or "")

    return hear


# ---- transports to servers


class HttpAccess:
    """A server at a URL. `status` is the HTTP status of the last refused message, which the package does not report."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, sse: bool, auth: Callable[[], Any] = lambda: None
    ) -> None:
        """`auth` creates an authentication handler for the package's HTTP library."""
        self.status: int | None = None
        self.host = urlsplit(url).netloc.rpartition("@")[2]
        self._url = url
        self._headers = dict(headers)
        self._sse = sse
        self._auth = auth

    @asynccontextmanager
    async def transport(self) -> AsyncIterator[Any]:
        """Open the connection; yield the streams of messages to read and to write."""
        from mcp.client.sse import sse_client
        from mcp.client.streamable_http import streamable_http_client

        if self._sse:
            async with sse_client(self._url, httpx_client_factory=self._client, headers=self._headers) as streams:
                yield streams
            return
        async with (
            self._client(self._headers) as client,
            streamable_http_client(self._url, http_client=client) as streams,
        ):
            yield streams[0], streams[1]

    def _client(self, headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
        from mcp.shared._httpx_utils import create_mcp_http_client

        client: Any = create_mcp_http_client(headers=headers, timeout=timeout, auth=auth or self._auth())
        client.event_hooks["response"].append(self._note)
        return client

    async def _note(self, response: Any) -> None:
        """Store the status. Only messages count: many servers offer no event stream."""
        if response.request.method == "POST" or self._sse:
            self.status = response.status_code if response.status_code >= 400 else None


def parse_message(line: bytes) -> Any:
    """Parse a line into a message of the package.

    Raises:
        ValueError: the line is no message.
    """
    from mcp.shared.message import SessionMessage

    if is_version_2():
        return SessionMessage(_types().jsonrpc_message_adapter.validate_json(line))
    return SessionMessage(_types().JSONRPCMessage.model_validate_json(line))


def message_line(message: Any) -> bytes:
    """Format a message of the package as a line."""
    without = {"exclude_unset": True} if is_version_2() else {"exclude_none": True}
    text: str = message.message.model_dump_json(by_alias=True, **without)
    return text.encode() + b"\n"


# ---- errors


def reason_of(error: BaseException) -> str:
    """Describe an error in one line: the package wraps errors in groups, and gives little detail for some."""
    if (ours := cause_of(error, (McpError,))) is not None:
        return str(ours)
    if isinstance(error, BaseExceptionGroup):
        return reason_of(error.exceptions[0])
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    said = getattr(getattr(error, "error", None), "message", None) or str(error) or type(error).__name__
    return str(said).strip().splitlines()[0] if str(said).strip() else type(error).__name__


def cause_of(error: BaseException, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    """Find rlm's own error in the groups and wrappers of the package."""
    if isinstance(error, kinds):
        return error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else [error.__cause__, error.__context__]
    return next((found for each in inner if each is not None and (found := cause_of(each, kinds))), None)
