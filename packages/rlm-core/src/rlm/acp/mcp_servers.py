"""MCP servers that a client names in a session, as rlm has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlm.config.mcp_servers import HttpServer, McpServer, McpServers, StdioServer
from rlm.core.messages import Wire


def with_servers(own: McpServers, named: Iterable[Wire]) -> McpServers:
    """The servers of the settings and those of the client, which win where they have the same name.

    What a client says is taken word for word: its user's variables are in place already.
    """
    theirs = tuple(_servers(named))
    names = [server.name for server in theirs]
    return McpServers((*(server for server in own.servers if server.name not in names), *theirs)) if theirs else own


def _servers(named: Iterable[Wire]) -> Iterator[McpServer]:
    for server in named:
        name = server["name"]
        if "command" in server:
            yield StdioServer(name, server["command"], tuple(server.get("args") or ()), _table(server.get("env")))
        elif "url" in server:
            headers = _table(server.get("headers"))
            yield HttpServer(name, server["url"], headers, sse=server.get("type") == "sse")


def _table(pairs: object) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in pairs} if isinstance(pairs, list) else {}
