"""What a client can set in a session: the mode, the model, the sandbox, and MCP servers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rlm.config.mcp_servers import HttpServer, McpServer, McpServers, StdioServer
from rlm.config.readers import SandboxMode
from rlm.core.messages import Wire

AUTO = "auto"
CONFIRM = "confirm"
MODES = {
    AUTO: ("Auto", "Cells, commands and edits run without asking"),
    CONFIRM: ("Confirm", "Ask before each cell, command and edit (--confirm)"),
}
MODE, MODEL, SANDBOX = "mode", "model", "sandbox"
_SANDBOXES = {
    SandboxMode.OFF: ("Off", "The model's code has your permissions"),
    SandboxMode.BWRAP: ("bwrap", "The model's code can write only to this folder and /tmp (Linux)"),
}


def mode_state(mode: str) -> Wire:
    """The modes, in the form of older versions of the protocol."""
    modes = [{"id": id, "name": name, "description": about} for id, (name, about) in MODES.items()]
    return {"currentModeId": mode, "availableModes": modes}


def config_options(mode: str, model: str, models: Sequence[str], sandbox: str) -> list[Wire]:
    names = list(dict.fromkeys([model, *models]))
    return [
        _select(MODE, "Mode", mode, ((id, *said) for id, said in MODES.items()), category=MODE),
        _select(MODEL, "Model", model, ((name, name, "") for name in names), category=MODEL),
        _select(
            SANDBOX,
            "Sandbox",
            sandbox,
            ((str(id), *said) for id, said in _SANDBOXES.items()),
            about="A change starts a fresh kernel: variables are lost",
        ),
    ]


def _select(
    id: str, name: str, current: str, options: Iterable[tuple[str, str, str]], *, category: str = "", about: str = ""
) -> Wire:
    values = [
        {"value": value, "name": shown} | ({"description": text} if text else {}) for value, shown, text in options
    ]
    more = ({"category": category} if category else {}) | ({"description": about} if about else {})
    return {"id": id, "name": name, "type": "select", "currentValue": current, "options": values} | more


# ---- MCP servers


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
