"""Serves functions of rlm as tools of an MCP server on stdin and stdout, with either major version of `mcp`."""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from rlm.config.credentials import hide_credentials
from rlm.errors import RlmError
from rlm.mcp import package
from rlm.mcp.package import OnProgress
from rlm.version import VERSION

_CONTEXT = "mcp_context"

ToolFunction = Callable[..., Awaitable[Any]]
"""A tool. Its first parameter is an `OnProgress`, the others are the tool's; its docstring describes the tool."""


async def serve(name: str, instructions: str, tools: Sequence[ToolFunction]) -> None:
    """Serve until stdin ends. stdout carries only the protocol.

    Raises:
        ConfigError: the package is not installed.
    """
    await package.load()
    version_2 = package.is_version_2()
    module_name = "mcp.server.mcpserver" if version_2 else "mcp.server.fastmcp"
    module, errors = await asyncio.to_thread(
        lambda: (import_module(module_name), import_module(f"{module_name}.exceptions"))
    )
    version = {"version": VERSION} if version_2 else {}
    server: Any = vars(module)["MCPServer" if version_2 else "FastMCP"](name, instructions=instructions, **version)
    for tool in tools:
        server.add_tool(_with_context(tool, vars(module)["Context"], errors.ToolError), name=tool.__name__)
    await server.run_stdio_async()


def _with_context(tool: ToolFunction, context_type: Any, error_type: Any) -> ToolFunction:
    """Adapt a tool to the package: add a context parameter, which the package finds by its type, and convert errors."""

    async def run(**arguments: Any) -> Any:
        progress = _ProgressSender(arguments.pop(_CONTEXT))
        sending = asyncio.create_task(progress.send())
        try:
            return await tool(progress.add, **arguments)
        except RlmError as error:
            raise error_type(hide_credentials(str(error))) from None
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    hints = typing.get_type_hints(tool, include_extras=True)
    own = list(inspect.signature(tool).parameters.values())[1:]
    context = inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=context_type)
    parameters = [each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    run.__name__, run.__doc__ = tool.__name__, inspect.getdoc(tool)
    run.__annotations__ = {each.name: each.annotation for each in (context, *parameters)} | {"return": hints["return"]}
    vars(run)["__signature__"] = inspect.Signature([context, *parameters], return_annotation=hints["return"])
    return run


class _ProgressSender:
    """Sends progress. If updates arrive while a notification is being sent, only the newest is kept."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._newest: tuple[float, float | None, str] | None = None
        self._changed = asyncio.Event()

    def add(self, done: float, total: float | None, message: str) -> None:
        self._newest = (done, total, message)
        self._changed.set()

    async def send(self) -> None:
        with suppress(Exception):  # the client has closed the connection, which the server notices
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._newest is not None:
                    await self._context.report_progress(*self._newest)


__all__ = ["OnProgress", "ToolFunction", "serve"]
