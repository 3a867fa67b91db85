"""Converts MCP servers that a client names in a session to rlm's own form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlm.config.mcp_servers import HttpServer, McpServer, McpServers, StdioServer
from rlm.core.messages import Wire


def with_servers(own: McpServers, named: Iterable[Wire]) -> McpServers:
    """Merge the servers of the settings with those of the client. The client's win if names are equal.

    The client's values are used unchanged: the client has already expanded the user's variables.
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
