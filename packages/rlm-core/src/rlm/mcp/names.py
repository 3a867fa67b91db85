"""What MCP servers and their tools are called in the kernel, and what is said of them in the prompt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from rlm.text.identifiers import PYTHON, identifier

_KERNEL = ("mcp", "context", "In", "Out", "get_ipython", "display")
"""What the kernel gives to cells, besides modules and skills."""
_MARK = "mcp"

_PROMPT = (
    "MCP servers are objects in the kernel: {names}. Their tools are async functions: `await {first}.TOOL(...)`. "
    '`mcp.search("words")` finds tools, `help({first}.TOOL)` says how. A failure raises `rlm.McpError`.'
)


@dataclass(frozen=True, slots=True)
class ServerNames:
    """By a server's name, that of the variable that stands for it."""

    variables: tuple[tuple[str, str], ...] = ()
    renamed: tuple[str, ...] = ()
    """A sentence on each that is called otherwise than itself."""

    def only(self, servers: Collection[str]) -> ServerNames:
        return replace(self, variables=tuple(each for each in self.variables if each[0] in servers))

    @property
    def prompt(self) -> str:
        """It is as long for five tools as for five hundred."""
        names = [variable for _, variable in self.variables]
        return _PROMPT.format(names=", ".join(names), first=names[0]) if names else ""


def named(servers: Iterable[str], skills: Collection[str]) -> ServerNames:
    taken: dict[str, str] = dict.fromkeys(skills, "a skill") | dict.fromkeys(_KERNEL, "the kernel's")
    variables, renamed = [], []
    for server in servers:
        hidden = PYTHON | taken.keys()
        variable = identifier(server, hidden, mark=_MARK)
        if (plain := identifier(server)) != variable:
            whose = taken.get(plain, "Python's")
            renamed.append(f"The MCP server {server} is `{variable}` in the kernel, for `{plain}` is {whose}.")
        taken[variable] = f"the server {server}"
        variables.append((server, variable))
    return ServerNames(tuple(variables), tuple(renamed))


def tool_names(tools: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each tool with the name of its function. One that is listed twice comes once."""
    taken: set[str] = set()
    for tool in dict.fromkeys(tools):
        name = identifier(tool, taken)
        taken.add(name)
        yield tool, name
