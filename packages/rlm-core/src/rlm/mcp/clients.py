"""All MCP servers of a run. The agents share them: each server is started once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rlm.config.environment import program
from rlm.config.mcp_servers import HttpServer, McpServer, McpServers, StdioServer
from rlm.errors import McpError
from rlm.mcp import oauth, package
from rlm.mcp.client import START, McpClient, ServerAccess, ServerTools
from rlm.mcp.names import ServerNames
from rlm.mcp.package import OnProgress, Wire
from rlm.mcp.stdio import ServerProcess
from rlm.process import files
from rlm.process.programs import find_program
from rlm.process.supervisor import Supervisor
from rlm.text.redact import Redactor


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """How servers that are programs are launched."""

    cwd: Path
    """The working directory of the run."""
    environment: Mapping[str, str]
    """Variables without credentials; those in a server's own configuration are added."""
    supervisor: Supervisor
    state: Path | None
    """The user's state folder, which has tokens of earlier logins."""
    sandboxed: bool
    """Whether cells can write in `cwd` from a sandbox; a server runs outside of that sandbox."""


class McpClients:
    """Owns the connections to the servers of a run, while it is entered."""

    def __init__(self, servers: McpServers, names: ServerNames, launch: LaunchContext, start: float = START) -> None:
        """`start`: seconds that each server has to become ready."""
        self.names = names
        self._launch = launch
        self._secrets = servers.secrets
        self._redactor = Redactor(self._secrets)
        self._needed = asyncio.Event()
        self._report: Callable[[str], None] = lambda _: None
        self._clients = {
            each.name: McpClient(each.name, partial(self._open, each), self._needed, self._warn, start)
            for each in servers.servers
        }

    def reporting(self, report: Callable[[str], None]) -> Self:
        """Set the function that receives lines for the user."""
        self._report = report
        return self

    async def __aenter__(self) -> Self:
        """Start the servers before the first cell runs. Only a caller that needs a server waits for it."""
        for sentence in self.names.renamed:
            self._warn(sentence)
        for client in self._clients.values():
            client.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    def connect(self) -> None:
        """Connect to the servers. Called when the import of the package (half a second and more) delays nothing."""
        self._needed.set()

    async def tools(self, server: str) -> ServerTools:
        """
        Raises:
            McpError: the server cannot be reached.
        """
        self.connect()
        try:
            return await self._clients[server].tools()
        except McpError as error:
            raise McpError(self._redactor.text(str(error))) from None

    async def call(self, server: str, tool: str, arguments: Wire, on_progress: OnProgress) -> Wire:
        """Call a tool and return its result, with the server's credentials redacted.

        Raises:
            McpError: the server cannot be reached, or answered with an error.
        """
        self.connect()
        try:
            result: Wire = self._redactor.value(await self._clients[server].call(tool, arguments, on_progress))
            return result
        except McpError as error:
            raise McpError(self._redactor.text(str(error))) from None

    def _warn(self, line: str) -> None:
        self._report(self._redactor.text(line))

    async def _open(self, server: McpServer, stack: AsyncExitStack) -> ServerAccess:
        if isinstance(server, HttpServer):
            http = package.HttpAccess(server.url, server.headers, sse=server.sse, auth=partial(self._login, server))
            return ServerAccess(http.transport(), http=http)
        process = await _start(server, self._launch)
        stack.push_async_callback(process.close)
        return ServerAccess(process.transport(), process)

    def _login(self, server: HttpServer) -> Any:
        """The handler that sends the tokens of an earlier login; None without one. During a run no user can log in."""
        state = self._launch.state
        if state is None or not oauth.has_tokens(server.url, state):
            return None
        return oauth.handler(server.name, server.url, state, self._keep_secret)

    def _keep_secret(self, secret: str) -> None:
        self._secrets |= {secret}
        self._redactor = Redactor(self._secrets)


async def _start(server: StdioServer, launch: LaunchContext) -> ServerProcess:
    found, folder = _program(server, launch), _folder(server, launch)
    environment = {**launch.environment, **server.env}
    try:
        with files.folder_for_child(folder) as cwd:
            return await ServerProcess.start(found, server, Path(cwd), environment, launch.supervisor)
    except OSError as error:
        raise McpError(f"its folder {folder} cannot be used: {error.strerror or error}") from None


def _folder(server: StdioServer, launch: LaunchContext) -> Path:
    """The working directory of a server.

    It is private if cells in a sandbox can write in the run's: many programs import files from their working directory.
    """
    if not server.cwd:
        return launch.supervisor.folder if launch.sandboxed else launch.cwd
    return files.resolve(launch.cwd / Path(server.cwd).expanduser())


def _program(server: StdioServer, launch: LaunchContext) -> Path:
    """
    Raises:
        McpError: there is no such program, or a cell in a sandbox could change it.
    """
    if os.sep not in server.command:
        found = program(server.command)
        if found is None:
            raise McpError(f"there is no program {server.command} on PATH outside the working directory: give its path")
        return found
    path = Path(os.path.normpath(launch.cwd / Path(server.command).expanduser()))
    if launch.sandboxed:
        safe = find_program(str(path), "", [launch.cwd])
        if safe is None:
            raise McpError(f"{path} is not a program outside the folders that cells in the sandbox can write")
        return safe
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise McpError(f"{path} is not a program")
    return path
