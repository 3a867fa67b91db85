"""The SDK's clients for one endpoint. Each has one connection, and one request at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

MAX_CONNECTIONS = 1_000
"""Requests in flight at once, the SDK's own default. More requests wait."""
MAX_KEEPALIVE = 100
"""Idle clients that are kept."""
KEEPALIVE_EXPIRY = 5.0
"""Seconds after which an idle client is closed. The HTTP library would not reuse its connection either."""


class SDKClients:
    """Lends a client to each request: the client that was used last, because its connection is most likely open.

    A single client would have a pool of connections. The HTTP library goes through the whole pool when a request begins
    and again when it ends, with a system call for each idle connection. With 64 requests in flight that is a fifth of
    the cost of a request.
    """

    def __init__(
        self,
        new: Callable[[], Any],
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_keepalive: int = MAX_KEEPALIVE,
        keepalive_expiry: float = KEEPALIVE_EXPIRY,
    ) -> None:
        """Create the first client at once, so that wrong settings are detected now.

        Raises:
            ConfigError: raised by `new`.
        """
        self._new = new
        self._max_keepalive = max_keepalive
        self._keepalive_expiry = keepalive_expiry
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: deque[tuple[float, Any]] = deque([(time.monotonic(), new())])
        """Idle clients with the time of their last use, oldest first."""

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Any]:
        """Lend a client for one request."""
        async with self._slots:
            client = self._idle.pop()[1] if self._idle else self._new()
            try:
                yield client
            finally:
                now = time.monotonic()
                self._idle.append((now, client))
                # close surplus and expired clients, but never the newest: the next request uses it
                oldest = now - self._keepalive_expiry
                while len(self._idle) > self._max_keepalive or (len(self._idle) > 1 and self._idle[0][0] < oldest):
                    await self._idle.popleft()[1].close()

    async def close(self) -> None:
        """Close all idle clients. No request may be in flight."""
        while self._idle:
            await self._idle.popleft()[1].close()
