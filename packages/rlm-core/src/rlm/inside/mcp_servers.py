"""MCP servers in a cell: each is an object with async functions. `mcp` finds their tools. The servers are in the host.

A kernel asks for a server's tools when a cell first needs them, so that they do not slow down its start.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable
from types import ModuleType
from typing import Any

from rlm.config.environment import broker_address
from rlm.errors import AgentError, McpError
from rlm.inside.fanout import ProgressLine
from rlm.inside.mcp_results import dumps, value_of
from rlm.inside.mcp_signatures import signature_of
from rlm.text.clip import one_line

Tool = Callable[..., Awaitable[Any]]
_LINE = 160  # maximum characters of a tool in a list


def namespace(servers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the variables of a kernel: one for each server, and `mcp`."""
    connected = {server: Server(server, variable) for server, variable in servers}
    return {**{each.__name__: each for each in connected.values()}, "mcp": Servers(connected)}


class Server(ModuleType):
    """The tools of one MCP server. It is a module, so that `help` and completion work."""

    def __init__(self, server: str, variable: str) -> None:
        super().__init__(variable)
        self._server = server
        self._functions: dict[str, Tool] | None = None
        self._by_tool: dict[str, Tool] = {}
        self._instructions = ""

    @property
    def __all__(self) -> list[str]:
        return sorted(self._loaded())

    def __dir__(self) -> list[str]:
        return [*self.__all__, "__doc__", "__name__"]

    def __getattr__(self, name: str) -> Any:
        """Return a tool. For an unknown name, ask the server again: the tool may be new."""
        __tracebackhide__ = True  # IPython leaves such frames out
        if name.startswith("_"):  # IPython and pydoc ask for many such names
            raise AttributeError(name)
        known = self._functions is not None
        if name not in self._loaded() and known:
            self._load()
        if name in self._loaded():
            return self._loaded()[name]
        near = difflib.get_close_matches(name, self._loaded(), 3)
        hint = f"did you mean {', '.join(near)}?" if near else f"`dir({self.__name__})` lists them."
        raise AttributeError(f"the MCP server {self._server} has no tool {name!r}: {hint}")

    def __getitem__(self, tool: str) -> Tool:
        """Return a tool by the name that the server gives it."""
        self._loaded()
        if tool not in self._by_tool:
            raise KeyError(f"the MCP server {self._server} has no tool {tool!r}")
        return self._by_tool[tool]

    def __repr__(self) -> str:
        count = "" if self._functions is None else f", {len(self._functions)} tools"
        return f"<MCP server {self._server}{count}: mcp.search({self._server!r}) lists its tools>"

    def _loaded(self) -> dict[str, Tool]:
        __tracebackhide__ = True
        if self._functions is None:
            self._load()
        assert self._functions is not None
        return self._functions

    def _load(self) -> None:
        __tracebackhide__ = True
        listed = _tools_of(self._server)
        self._instructions = listed["instructions"]
        functions = {tool["python_name"]: _function(self._server, self.__name__, tool) for tool in listed["tools"]}
        self._by_tool = {tool["name"]: functions[tool["python_name"]] for tool in listed["tools"]}
        self._functions = functions


def _doc_of(server: Server) -> str:
    try:
        server._loaded()
    except McpError as error:
        return str(error)
    return server._instructions or f"The tools of the MCP server {server._server}."


Server.__doc__ = property(_doc_of)  # type: ignore[assignment] # each server has its own text, as a module has


class Servers(ModuleType):
    """The variable `mcp`."""

    __all__ = ("search",)

    def __init__(self, servers: dict[str, Server]) -> None:
        super().__init__("mcp", f"The MCP servers {', '.join(servers)}. `mcp.search(words)` finds their tools.")
        self._servers = servers
        self.search = self._search
        self.search.__func__.__name__ = "search"  # type: ignore[attr-defined]

    def __getitem__(self, server: str) -> Server:
        """Return a server by its name in the configuration."""
        return self._servers[server]

    def __repr__(self) -> str:
        return f"<MCP servers: {', '.join(self._servers)}>"

    def _search(self, words: str = "", limit: int = 20) -> Found:
        """Find tools by words in their server, name or description, best match first. Without words, return all tools.

        Returns a list of functions. Its repr has one line for each tool.
        """
        wanted = re.findall(r"[^\W_]+", words.casefold())
        found: list[tuple[int, Tool]] = []
        problems = []
        for server in self._servers.values():
            try:
                tools = server._loaded().values()
            except McpError as error:
                problems.append(str(error))
                continue
            found += [(score, tool) for tool in tools if (score := _score(wanted, server._server, tool)) or not wanted]
        found.sort(key=lambda each: -each[0])
        return Found([tool for _, tool in found[:limit]], len(found), problems)


class Found(list[Tool]):
    """The first of `total` tools that were found. `problems` has the errors of servers that could not be asked."""

    def __init__(self, tools: list[Tool], total: int, problems: list[str]) -> None:
        super().__init__(tools)
        self.total = total
        self.problems = problems

    def __repr__(self) -> str:
        lines = [_line(tool) for tool in self]
        left_out = self.total - len(self)
        more = [f"… and {left_out} more: use more words, or a higher limit"] if left_out > 0 else []
        return "\n".join([*lines, *more, *self.problems]) or "no tool matches these words"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002 - IPython's protocol
        printer.text(repr(self))


def _score(wanted: list[str], server: str, tool: Tool) -> int:
    """Score a tool: a word in its name counts more than one in its description; a match of all words counts most."""
    name = f"{server} {tool.__name__}".casefold()
    text = (tool.__doc__ or "").casefold()
    points = [4 if word in name else 1 if word in text else 0 for word in wanted]
    return sum(points) + (10 if points and all(points) else 0)


def _line(tool: Tool) -> str:
    about = one_line((tool.__doc__ or "").partition("\n\n")[0], _LINE)
    return f"{tool.__qualname__}{tool.__signature__}" + (f"  # {about}" if about else "")  # type: ignore[attr-defined]


# ---- asking the host


def _address() -> tuple[str, str]:
    if (address := broker_address()) is None:
        raise McpError("MCP servers work only in the cells of an agent")
    return address


def _tools_of(server: str) -> dict[str, Any]:
    """Ask the host for a server's tools.

    Raises:
        McpError: the server cannot be reached.
    """
    from rlm.broker.client import exchange
    from rlm.broker.protocol import ToolsRequest, accepted

    __tracebackhide__ = True
    path, token = _address()
    try:
        return accepted(exchange(path, ToolsRequest(token, server)))
    except AgentError as error:
        raise McpError(str(error)) from None


def _function(server: str, variable: str, tool: dict[str, Any]) -> Tool:
    described = signature_of(tool)
    name = tool["python_name"]

    async def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            arguments = dumps(described.arguments(args, kwargs))
        except TypeError as error:
            raise TypeError(f"{variable}.{name}: {error}; it is {name}{described.signature}") from None
        result = await _call(server, tool["name"], arguments, f"{variable}.{name}")
        return value_of(result, tool.get("outputSchema"))

    call.__name__, call.__qualname__, call.__module__ = name, f"{variable}.{name}", variable
    call.__doc__ = described.doc
    call.__signature__ = described.signature  # type: ignore[attr-defined]
    return call


async def _call(server: str, tool: str, arguments: str, title: str) -> dict[str, Any]:
    from rlm.broker.client import call_tool
    from rlm.broker.protocol import CallRequest

    __tracebackhide__ = True
    path, token = _address()
    progress = ProgressLine()

    def show(done: float, total: float | None, message: str) -> None:
        line = f"{title}: {done:g}" + (f" of {total:g}" if total else "") + f" {message}".rstrip()
        progress.show(one_line(line, _LINE))

    try:
        return await call_tool(path, CallRequest(token, server, tool, arguments), show)
    except AgentError as error:
        raise McpError(str(error)) from None
    finally:
        progress.close()
