"""Tools of MCP servers are functions in the kernel; the servers run on the host's side."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from rlm_testkit import mcp_program
from rlm_testkit.cli import Rlm
from rlm_testkit.leftovers import processes
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]
SECRET = "s3cret-of-the-user"
TRIED = """\
print(await small.create_issue("It breaks", "bug", from_={"name": "me"}), await small["add"](a=1), small)
for wrong in (small.fail(why="never"), small.die(), small.add()):
    try:
        await wrong
    except (rlm.McpError, TypeError) as error:
        print(type(error).__name__, error)
print(await small.look())
print(mcp.search("picture"), hasattr(small, "nothing"), [name for name in dir() if name.endswith("_mcp")])
"""
WAITS = "kept = 1\nawait small.wait()"
CHILDREN = """\
print(kept, (await rlm.run("all")).answer)
print((await rlm.run("none", mcp=())).answer)
try:
    await rlm.run("other", mcp=["github"])
except rlm.AgentError as error:
    print(error)
"""
HIDDEN = "!env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; cat /proc/*/cmdline | tr '\\0' ' '"


def servers(notes: Path, *faults: str, **env: str) -> str:
    small = {"command": sys.executable, "args": ["-I", mcp_program.__file__, str(notes), *faults], "env": env}
    return json.dumps({"mcpServers": {"small": small, "time": {"command": "no-such-program"}}})


def script(request: Request) -> Answer:
    if request.depth:
        return call("ipython", code="small.add") if not request.turn else text(f"{request.task}: {request.last[:50]}")
    cells = [("help(small.create_issue)", 60), (TRIED, 60), (WAITS, 2), (CHILDREN, 60), (HIDDEN, 60)]
    if request.turn == len(cells):
        return text("done")
    code, timeout = cells[request.turn]
    return call("ipython", code=code, timeout=timeout)


def test_tools_are_functions_in_a_sandbox_without_a_network_and_no_secret_gets_there(rlm: Make, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Scripted(script) as server:
        command = rlm(server)
        mcp = servers(notes, TOKEN="${MY_TOKEN}")
        done = command(
            "--sandbox", "bwrap", "--mcp", mcp, "--max-depth", "1", "go", MY_TOKEN=SECRET, RLM_MCP="/no/such"
        )
    assert 0 == done.code, done.err
    described, tried, waited, children, hidden = done.session.results
    assert "create_issue(title: str, class_: Literal['bug', 'idea'], labels: Optional[list[str]] = None" in described
    assert "Open an issue in a repository." in described
    lines = tried.splitlines()
    assert lines[:4] == [
        '{"class": "bug", "from": {"name": "me"}, "title": "It breaks"} 2 '
        "<MCP server small, 9 tools: mcp.search('small') lists its tools>",
        "McpError it failed: never",
        "McpError small: it ended with status 7",
        "TypeError small.add: missing a required argument: 'a'; it is add(a: int, b: int = 1) -> int",
    ]
    assert lines[4:6] == ["<image/png, 48 bytes>", f"[picture: {done.session.folder}/outputs/cell-2.png]"]
    assert "small.look() -> Any  # Take a picture." in tried
    assert tried.rstrip().endswith("False ['time_mcp']")
    assert "small.wait: 2 of 4 waiting" in waited
    assert "notifications/cancelled" in notes.read_text()
    assert children.splitlines()[0].startswith("1 all: <function small.small.add(a: int"), (
        "the parent's servers by default"
    )
    assert children.splitlines()[1].startswith("none: -----"), "this name is not defined"
    assert "no MCP server of this run" not in children
    assert "'github' is not one of them, there are small, time" in children
    assert SECRET not in hidden
    assert mcp_program.__file__ not in hidden, "the server runs outside of the sandbox"
    assert [] == [
        path for path in (tmp_path / "work").rglob("*") if path.is_file() and SECRET in path.read_text("latin-1")
    ]
    assert SECRET not in str([request.body for request in server.requests])
    reasons = [record["reason"] for record in done.session.records if record["type"] == "error"]
    assert [
        "The MCP server time is named `time_mcp` in the kernel, because `time` belongs to Python.",
        "MCP server time: there is no program no-such-program on PATH outside the working directory: give its path.",
        "MCP server small: it ended with status 7. The next call connects again.",
    ] == reasons
    assert [] == processes(command)


def test_a_session_that_goes_on_has_its_servers_again_but_no_secrets(rlm: Make, tmp_path: Path) -> None:
    added = [call("ipython", code=f"await small.add({number})") for number in (1, 2)]
    with Scripted(added[0], text("done"), added[1], text("done")) as server:
        command = rlm(server)
        command("--mcp", servers(tmp_path / "notes", "many"), "go")
        resumed = command("resume", "more")
    assert ["2", "3"] == [result.strip() for result in resumed.session.results]
    assert "MCP servers" not in str(server.requests[2].messages[1:]), "it has their descriptions already"
    prompt = server.requests[0].messages[0]["content"]
    assert "MCP servers are objects in the kernel: small, time_mcp." in prompt
    assert "tool_1" not in prompt, "it costs the same with five tools as with five hundred"
    secretive = json.dumps({"other": {"command": "true", "env": {"KEY": "a-literal-secret"}}})
    with Scripted(text("done")) as server:
        command("resume", "more", "--mcp", secretive, RLM_BASE_URL=server.url)
    assert "MCP servers are objects in the kernel: other." in str(server.requests[0].messages[1:]), (
        "the model is told about new ones"
    )
    refused = command("resume", "more")
    assert (2, True) == (refused.code, "had a secret in --mcp, which is not recorded" in refused.err)
    with Scripted(call("ipython", code="small"), text("done")) as server:
        foreign = command(
            "resume", "--trust", resumed.session.folder.name, "more", HOME=str(tmp_path), RLM_BASE_URL=server.url
        )
    assert 0 == foreign.code, foreign.err
    assert "NameError" in server.requests[-1].last, "a session of somebody else starts no program"
    looked = command("doctor", "--mcp", servers(tmp_path / "notes"), "--json")
    found = {line["state"]: line["ok"] for line in looked.lines if line["subject"] == "mcp"}
    assert {"small has 9 tools": True, "time cannot be used": False} == found
    refused = command(
        "mcp", "login", "docs", RLM_MCP='{"mcpServers": {"docs": {"url": "http://me:word@127.0.0.1:9/"}}}'
    )
    assert 2 == refused.code
    assert "The login to docs failed: no connection with 127.0.0.1:9: " in refused.err
    assert "word" not in refused.err
    served = command("mcp", RLM_MODELS="one")
    assert (0, "") == (served.code, served.out), served.err
    assert "RLM_MODELS is not a setting" in served.err
