"""The names of MCP servers and tools in the kernel, and their description in the prompt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from rlm.text.identifiers import PYTHON, identifier

_KERNEL = ("mcp", "context", "In", "Out", "get_ipython", "display")
"""Names that the kernel defines for cells, besides modules and skills."""
_MARK = "mcp"

_PROMPT = (
    "MCP servers are objects in the kernel: {names}. Their tools are async functions: `await {first}.TOOL(...)`. "
    '`mcp.search("words")` finds tools, `help({first}.TOOL)` says how. A failure raises `rlm.McpError`.'
)


@dataclass(frozen=True, slots=True)
class ServerNames:
    """The variable of each server, by the server's name."""

    variables: tuple[tuple[str, str], ...] = ()
    renamed: tuple[str, ...] = ()
    """One sentence for each server whose variable has another name."""

    def only(self, servers: Collection[str]) -> ServerNames:
        """Return the names of these servers alone."""
        return replace(self, variables=tuple(each for each in self.variables if each[0] in servers))

    @property
    def prompt(self) -> str:
        """The text for the system prompt; its length does not depend on the number of tools."""
        names = [variable for _, variable in self.variables]
        return _PROMPT.format(names=", ".join(names), first=names[0]) if names else ""


def name_servers(servers: Iterable[str], skills: Collection[str]) -> ServerNames:
    """Choose the variable of each server. It hides no name of Python, of the kernel or of a skill."""
    taken: dict[str, str] = dict.fromkeys(skills, "a skill") | dict.fromkeys(_KERNEL, "the kernel")
    variables, renamed = [], []
    for server in servers:
        hidden = PYTHON | taken.keys()
        variable = identifier(server, hidden, mark=_MARK)
        if (plain := identifier(server)) != variable:
            whose = taken.get(plain, "Python")
            renamed.append(
                f"The MCP server {server} is named `{variable}` in the kernel, because `{plain}` belongs to {whose}."
            )
        taken[variable] = f"the server {server}"
        variables.append((server, variable))
    return ServerNames(tuple(variables), tuple(renamed))


def tool_names(tools: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each tool with the name of its function. A tool that is listed twice appears once."""
    taken: set[str] = set()
    for tool in dict.fromkeys(tools):
        name = identifier(tool, taken)
        taken.add(name)
        yield tool, name
