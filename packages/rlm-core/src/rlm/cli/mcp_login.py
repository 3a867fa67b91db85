"""`rlm mcp login NAME`: log in to an MCP server that rlm uses, in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.signals import closing_in_order, run_until_signal
from rlm.cli.streams import put, say, stdout_is_terminal
from rlm.config.child_env import opener
from rlm.config.environment import state_folder
from rlm.config.mcp_servers import HttpServer
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError, McpError
from rlm.mcp import oauth, package

_USAGE = "`rlm mcp` serves; `rlm mcp login NAME` logs in to a server that --mcp or RLM_MCP names."


def login(line: CommandLine, words: Sequence[str]) -> int:
    """
    Raises:
        ConfigError: there is no such server, or the login failed.
    """
    if words[0] != "login" or len(words) != 2:
        raise ConfigError(_USAGE)
    servers = read_config(line.settings).mcp.servers
    server = next((each for each in servers if each.name == words[1]), None)
    if server is None:
        there = (
            f"There are {', '.join(each.name for each in servers)}." if servers else "No server is named: use --mcp."
        )
        raise ConfigError(f"There is no MCP server {words[1]}. {there}")
    if not isinstance(server, HttpServer):
        raise ConfigError(f"{server.name} is a program: put its credentials into its `env`.")
    state = state_folder()
    if state is None:
        raise ConfigError("The login cannot be stored: HOME and XDG_STATE_HOME are not set.")
    with closing_in_order():
        run_until_signal(_login(server, state))
    return exit_codes.DONE


async def _login(server: HttpServer, state: Path) -> None:
    await package.load()
    file = oauth.TokenFile(server.url, state)
    file.remove()  # the old registration is bound to the old redirect address, and this login uses a new one
    async with oauth.CallbackPage() as page:
        auth = partial(
            oauth.handler, server.name, server.url, state, lambda _: None, redirect=page.url, show=_show, wait=page.wait
        )
        place = package.HttpAccess(server.url, server.headers, sse=server.sse, auth=auth)
        try:
            async with package.open_session(place.transport(), lambda: None) as session:
                tools, _ = await session.tools(None)
        except Exception as error:  # noqa: BLE001 - the package raises many types
            raise _refused(server, error, place) from None
    known = "You are logged in to" if file.read() else "No login is needed for"
    put(f"{known} {server.name}: {len(tools)} tools.")


def _refused(server: HttpServer, error: Exception, access: package.HttpAccess) -> ConfigError:
    if known := package.cause_of(error, (ConfigError, McpError)):
        reason = str(known)
    elif access.status:
        reason = f"HTTP {access.status}"
    else:
        reason = f"no connection with {access.host}: {package.reason_of(error)}"
    return ConfigError(f"The login to {server.name} failed: {reason.rstrip('.')}.")


async def _show(url: str) -> None:
    say(f"Go to this page and log in:\n{url}")
    if not stdout_is_terminal():
        return
    try:
        program, environment = opener()
        await asyncio.create_subprocess_exec(program, url, env=environment, start_new_session=True)
    except (ValueError, OSError):
        return  # the user can open the page
