"""A server of the package `mcp`, in its installed major version, over both HTTP transports.

    with serving(token) as base:      `base`/mcp is streamable HTTP, `base`/sse the older transport

Requests without the token are refused. The server is a separate process, because its imports take a second.
"""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def serving(token: str) -> Iterator[str]:
    words = [sys.executable, "-c", f"from {__name__} import main; main({token!r})"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def main(token: str) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(_Guarded(_app(), token), log_level="error")).run([listener])


def _app() -> Any:
    server = _server_class()("sums")
    server.add_tool(multiply)
    app = server.streamable_http_app()
    app.router.routes.extend(server.sse_app().routes)
    return app


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def _server_class() -> Any:
    """The server class, whose name differs between the major versions."""
    module = importlib.import_module("mcp.server")
    return getattr(module, "MCPServer", None) or importlib.import_module("mcp.server.fastmcp").FastMCP


class _Guarded:
    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and dict(scope["headers"]).get(b"authorization") != self._expected:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send)
