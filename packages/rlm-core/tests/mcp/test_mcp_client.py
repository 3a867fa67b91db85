"""MCP servers as the host has them: real programs and a real HTTP server, by whichever major of `mcp` is installed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rlm.config.mcp_servers import HttpServer, McpServer, McpServers, StdioServer
from rlm.config.settings import Config
from rlm.config.sources import with_values
from rlm.errors import McpError
from rlm.mcp import McpClients, Surroundings, named
from rlm.process.supervisor import Supervisor
from rlm_testkit import mcp_program
from rlm_testkit.waiting import eventually

SECRET = "s3cret-of-the-server"


def small(name: str, *faults: str, notes: Path | str = "", **env: str) -> StdioServer:
    return StdioServer(name, sys.executable, ("-I", mcp_program.__file__, str(notes), *faults), env)


@asynccontextmanager
async def connected(
    *servers: McpServer, folder: Path, sandboxed: bool = False, start: float = 60
) -> AsyncIterator[tuple[McpClients, list[str]]]:
    """The clients, and what the user is told."""
    told: list[str] = []
    config = with_values(Config(), {"mcp": McpServers(servers)})
    with Supervisor() as supervisor:
        surroundings = Surroundings(folder, {"PATH": "/usr/bin"}, supervisor, sandboxed)
        clients = McpClients(config.mcp, named(config.mcp.names, ()), surroundings, start)
        async with clients.reporting(told.append):
            yield clients, told


def nothing(*_: object) -> None:
    pass


async def call(clients: McpClients, server: str, tool: str, **arguments: Any) -> Any:
    result = await clients.call(server, tool, arguments, nothing)
    return result.get("structuredContent") or result["content"][0]["text"]


async def test_a_program_is_called_and_dies_and_is_called_again(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with connected(small("a", "greets", notes=notes, KEY=SECRET), folder=tmp_path) as (clients, told):
        listed = await clients.tools("a")
        assert "A small server." == listed.instructions
        assert {"add": "add", "create-issue": "create_issue"}.items() <= {
            tool["name"]: tool["python_name"] for tool in listed.tools
        }.items()
        assert {"result": 5} == await call(clients, "a", "add", a=2, b=3)
        assert "[redacted]" == await call(clients, "a", "environment", name="KEY"), "what it says of itself is hidden"
        assert "not set" == await call(clients, "a", "environment", name="USER")
        with pytest.raises(McpError, match="a: it ended with status 7"):
            await call(clients, "a", "die")
        assert [{"result": n + 1} for n in range(20)] == await asyncio.gather(
            *(call(clients, "a", "add", a=n) for n in range(20))
        ), "one process for all of them"
        assert ["MCP server a: it ended with status 7. The next call connects again."] == told
    lines = notes.read_text().splitlines()
    assert [f"started in {tmp_path}"] * 2 == [line for line in lines if line.startswith("started")]
    assert "ended" == lines[-1], "it was let end by itself"


async def test_a_call_says_how_far_it_is_and_the_server_hears_that_it_is_cancelled(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    heard: list[tuple[float, float | None, str]] = []
    async with connected(small("a", notes=notes), folder=tmp_path) as (clients, _):
        waiting = asyncio.create_task(clients.call("a", "wait", {}, lambda *how: heard.append(how)))
        await eventually(lambda: len(heard) == 2)
        assert (2, 4, "waiting") == heard[-1]
        waiting.cancel()
        await asyncio.wait({waiting})
        await eventually(lambda: "notifications/cancelled" in notes.read_text())
        assert {"result": 2} == await call(clients, "a", "add", a=1)


async def test_what_is_missing_slow_dead_or_lies_is_told_in_a_line_and_the_others_work(tmp_path: Path) -> None:
    servers = (
        StdioServer("missing", "no-such-program"),
        StdioServer("elsewhere", "true", cwd="/no/such/folder"),
        small("dead", "dies"),
        small("strange", "twice", "endless"),
        small("good"),
        HttpServer("nobody", "http://127.0.0.1:9/mcp"),
    )
    expected: dict[str, Callable[[str], bool]] = {
        "missing": lambda line: "no program no-such-program" in line,
        "elsewhere": lambda line: "/no/such/folder" in line,
        "dead": lambda line: line.endswith("status 3: no database: giving up."),
        "nobody": lambda line: "connect" in line.lower(),
    }
    async with connected(*servers, folder=tmp_path) as (clients, told):
        for server in expected:
            with pytest.raises(McpError, match=f"^{server}: "):
                await clients.tools(server)
        assert {"result": 2} == await call(clients, "good", "add", a=1)
        with pytest.raises(McpError):
            await call(clients, "good", "lie")
        strange = await clients.tools("strange")
        names = [tool["python_name"] for tool in strange.tools]
        assert len(names) == len(set(names)) < 20, "each of a hundred pages had the same"
        assert {"create_issue", "create_issue_2"} <= set(names)
    lines = {line.split(":")[0].removeprefix("MCP server "): line for line in told}
    assert [] == [server for server, fits in expected.items() if not fits(lines[server])]
    assert all("\n" not in line for line in told)


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    async with connected(small("mute", "silent"), folder=tmp_path, start=0.5) as (clients, told):
        with pytest.raises(McpError, match=r"mute: it was not ready after 0\.5 s"):
            await clients.tools("mute")
        with pytest.raises(McpError, match="not ready"):  # it is not tried again for each call
            await call(clients, "mute", "add", a=1)
        assert 1 == len(told)


async def test_over_http_the_headers_are_sent_and_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    with mcp_program.serving(token=SECRET) as (url, heard):
        good = HttpServer("good", url, {"Authorization": f"Bearer {SECRET}"})
        async with connected(good, HttpServer("stranger", url), folder=tmp_path) as (clients, told):
            assert {"result": 3} == await call(clients, "good", "add", a=1, b=2)
            with pytest.raises(McpError, match="rlm mcp login stranger"):
                await clients.tools("stranger")
            assert [SECRET] == [SECRET for headers in heard if SECRET in headers.get("authorization", "")][:1]
            assert 1 == len(told)


async def test_in_a_sandbox_no_program_is_started_that_a_cell_could_change(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    planted = project / "server"
    planted.write_text("#!/bin/sh\ntouch $0.ran\n")
    planted.chmod(0o755)
    notes = tmp_path / "notes"
    inside = StdioServer("inside", "./server")
    async with connected(inside, small("a", notes=notes), folder=project, sandboxed=True) as (clients, _):
        assert {"result": 2} == await call(clients, "a", "add", a=1)
        with pytest.raises(McpError, match="outside of what cells"):
            await clients.tools("inside")
    assert [planted] == list(project.iterdir())
    assert str(project) not in notes.read_text(), "it was not started there, where it would import what lies there"
