"""MCP servers as the host uses them: real programs and a real HTTP server, with the installed major version of `mcp`."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from rlm.config.mcp_servers import HttpServer, McpServer, McpServers, StdioServer
from rlm.config.settings import Config
from rlm.config.sources import with_values
from rlm.errors import McpError
from rlm.mcp import LaunchContext, McpClients, name_servers
from rlm.process.supervisor import Supervisor
from rlm_testkit import mcp_program
from rlm_testkit.scripted import Scripted, text
from rlm_testkit.scripted import call as call_tool
from rlm_testkit.waiting import eventually

SECRET = "s3cret-of-the-server"


def small(name: str, *faults: str, notes: Path | str = "", **env: str) -> StdioServer:
    return StdioServer(name, sys.executable, ("-I", mcp_program.__file__, str(notes), *faults), env)


@asynccontextmanager
async def connected(
    *servers: McpServer, folder: Path, sandboxed: bool = False, start: float = 60
) -> AsyncIterator[tuple[McpClients, list[str]]]:
    """Yield the clients, and the list of messages to the user."""
    reports: list[str] = []
    config = with_values(Config(), {"mcp": McpServers(servers)})
    with Supervisor() as supervisor:
        launch = LaunchContext(folder, {"PATH": "/usr/bin"}, supervisor, folder / "state", sandboxed)
        clients = McpClients(config.mcp, name_servers(config.mcp.names, ()), launch, start)
        async with clients.reporting(reports.append):
            yield clients, reports


def nothing(*_: object) -> None:
    pass


async def call(clients: McpClients, server: str, tool: str, **arguments: Any) -> Any:
    result = await clients.call(server, tool, arguments, nothing)
    return result.get("structuredContent") or result["content"][0]["text"]


async def test_a_program_is_called_and_dies_and_is_called_again(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with connected(small("a", "greets", notes=notes, KEY=SECRET), folder=tmp_path) as (clients, reports):
        listed = await clients.tools("a")
        assert "A small server." == listed.instructions
        assert {"add": "add", "create-issue": "create_issue"}.items() <= {
            tool["name"]: tool["python_name"] for tool in listed.tools
        }.items()
        assert {"result": 5} == await call(clients, "a", "add", a=2, b=3)
        assert "[redacted]" == await call(clients, "a", "environment", name="KEY"), (
            "a secret that a server returns is redacted"
        )
        assert "not set" == await call(clients, "a", "environment", name="USER")
        with pytest.raises(McpError, match="a: it ended with status 7"):
            await call(clients, "a", "die")
        assert [{"result": n + 1} for n in range(20)] == await asyncio.gather(
            *(call(clients, "a", "add", a=n) for n in range(20))
        ), "all calls use one process"
        assert ["MCP server a: it ended with status 7. The next call connects again."] == reports
    lines = notes.read_text().splitlines()
    assert [f"started in {tmp_path}"] * 2 == [line for line in lines if line.startswith("started")]
    assert "ended" == lines[-1], "the server was allowed to end by itself"


async def test_a_call_reports_its_progress_and_a_cancellation_reaches_the_server(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    heard: list[tuple[float, float | None, str]] = []
    async with connected(small("a", notes=notes), folder=tmp_path) as (clients, _):
        waiting = asyncio.create_task(clients.call("a", "wait", {}, lambda *progress: heard.append(progress)))
        await eventually(lambda: len(heard) == 2)
        assert (2, 4, "waiting") == heard[-1]
        waiting.cancel()
        await asyncio.wait({waiting})
        await eventually(lambda: "notifications/cancelled" in notes.read_text())
        assert {"result": 2} == await call(clients, "a", "add", a=1)


async def test_a_missing_slow_dead_or_wrong_server_is_reported_in_a_line_and_the_others_work(tmp_path: Path) -> None:
    servers = (
        StdioServer("missing", "no-such-program"),
        StdioServer("elsewhere", "true", cwd="/no/such/folder"),
        small("dead", "dies"),
        small("strange", "twice", "endless"),
        small("good"),
        HttpServer("nobody", "http://me:s3cret@127.0.0.1:9/mcp"),
    )
    expected: dict[str, Callable[[str], bool]] = {
        "missing": lambda line: "no program no-such-program" in line,
        "elsewhere": lambda line: "/no/such/folder" in line,
        "dead": lambda line: line.endswith("status 3: no database: giving up."),
        "nobody": lambda line: ": no connection with 127.0.0.1:9: " in line and "s3cret" not in line,
    }
    async with connected(*servers, folder=tmp_path) as (clients, reports):
        for server in expected:
            with pytest.raises(McpError, match=f"^{server}: "):
                await clients.tools(server)
        assert {"result": 2} == await call(clients, "good", "add", a=1)
        with pytest.raises(McpError):
            await call(clients, "good", "lie")
        strange = await clients.tools("strange")
        names = [tool["python_name"] for tool in strange.tools]
        assert len(names) == len(set(names)) < 20, "each of a hundred pages had the same names"
        assert {"create_issue", "create_issue_2"} <= set(names)
    lines = {line.split(":")[0].removeprefix("MCP server "): line for line in reports}
    assert [] == [server for server, fits in expected.items() if not fits(lines[server])]
    assert all("\n" not in line and line.endswith(".") and not line.endswith("..") for line in reports)


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    async with connected(small("mute", "silent"), folder=tmp_path, start=0.5) as (clients, reports):
        with pytest.raises(McpError, match=r"mute: it was not ready after 0\.5 s"):
            await clients.tools("mute")
        with pytest.raises(McpError, match="not ready"):  # the connection is not tried again for each call
            await call(clients, "mute", "add", a=1)
        assert 1 == len(reports)


async def test_over_http_the_headers_are_sent_and_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    with mcp_program.serving(token=SECRET) as (url, heard):
        good = HttpServer("good", url, {"Authorization": f"Bearer {SECRET}"})
        async with connected(good, HttpServer("stranger", url), folder=tmp_path) as (clients, reports):
            assert {"result": 3} == await call(clients, "good", "add", a=1, b=2)
            with pytest.raises(McpError, match="rlm mcp login stranger"):
                await clients.tools("stranger")
            assert [SECRET] == [SECRET for headers in heard if SECRET in headers.get("authorization", "")][:1]
            assert 1 == len(reports)


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
        with pytest.raises(McpError, match="outside the folders that cells"):
            await clients.tools("inside")
    assert [planted] == list(project.iterdir())
    assert str(project) not in notes.read_text(), (
        "it did not start in the project, where it would import modules of the project"
    )


async def test_a_login_in_a_browser_is_remembered_and_no_token_is_exposed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from rlm_entry import main; main()", "mcp", "login", "docs"]
    state = tmp_path / "state"
    with mcp_program.serving(token=SECRET) as (url, heard):
        environment = {
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(state),
            "RLM_MCP": json.dumps({"docs": {"url": url}}),
        }
        login = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)
        assert login.stdout is not None
        assert login.stderr is not None
        assert b"Go to this page and log in:\n" == await login.stderr.readline()
        page = (await login.stderr.readline()).decode().strip()
        said = await asyncio.to_thread(lambda: urlopen(page).read())  # like a browser, this follows the redirect
        assert b"You can close this page." in said
        assert (b"You are logged in to docs: 9 tools.\n", 0) == (await login.stdout.read(), await login.wait())
        (file,) = (state / "rlm" / "mcp").iterdir()
        assert 0o600 == file.stat().st_mode & 0o777
        kept = json.loads(file.read_text())
        file.write_text(json.dumps(kept | {"expires_at": 1}))
        del heard[:]
        async with connected(HttpServer("docs", url), folder=tmp_path) as (clients, reports):
            assert {"result": 3} == await call(clients, "docs", "add", a=1, b=2)
            assert SECRET not in str(await call(clients, "docs", "anything", token=SECRET))
        assert [] == reports
        assert all(SECRET in headers["authorization"] for headers in heard), (
            "the token was refreshed before it was used"
        )
        assert "again" == json.loads(file.read_text())["tokens"]["scope"]


async def test_rlm_is_a_server_itself(tmp_path: Path) -> None:
    heard: list[str] = []
    with Scripted(call_tool("ipython", code="6 * 7"), text("It is 42."), text("Still."), text("x").after(60)) as model:
        offered = StdioServer(
            "rlm",
            sys.executable,
            ("-c", "from rlm_entry import main; main()", "mcp", "--max-turns", "9"),
            {"HOME": str(tmp_path), "RLM_BASE_URL": model.url, "RLM_MODEL": "scripted"},
        )
        async with connected(offered, folder=tmp_path) as (clients, reports):
            assert ["resume", "run", "show"] == sorted(tool["name"] for tool in (await clients.tools("rlm")).tools)
            ran = await clients.call("rlm", "run", {"task": "What is it?"}, lambda done, _, said: heard.append(said))
            report = ran["structuredContent"]
            assert ("It is 42.", True, "done", 2) == tuple(report[name] for name in ("answer", "ok", "stop", "turns"))
            assert "ipython: 6 * 7" in heard
            again = await clients.call("rlm", "resume", {"session": report["session"][:6], "task": "Sure?"}, nothing)
            assert ("Still.", report["session"]) == tuple(
                again["structuredContent"][name] for name in ("answer", "session")
            )
            shown = await clients.call("rlm", "show", {"session": report["session"]}, nothing)
            assert all(part in shown["content"][0]["text"] for part in ("What is it?", "6 * 7", "Sure?", "Still."))
            for wrong in (
                {"task": " "},
                {"task": "x", "cwd": "/etc"},
                {"task": "x", "cwd": "../.."},
                {"task": "x", "max_turns": 0},
            ):
                refused = await clients.call("rlm", "run", wrong, nothing)
                assert refused["isError"]
                assert len(refused["content"][0]["text"]) > 40, "the error gives the reason"
            limited = await clients.call("rlm", "run", {"task": "x", "timeout": 2}, nothing)
            assert "timeout" == limited["structuredContent"]["stop"]
        assert [] == reports
    assert 3 <= len(model.requests) <= 5
