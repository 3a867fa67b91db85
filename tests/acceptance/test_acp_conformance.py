"""The conformance profile acp-core-v1 of the npm client acpx, case by case; and the client itself.

The files of the cases are in the client's repository, and in no package. The steps here are written for rlm; each of
them does what the case of the same name does, and checks at least as much. The model of these sessions follows the
prompt, in a cell, and the user is asked before each cell (`--confirm`). So the profile's reads and writes are real, and
can be denied.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from acp import RequestError
from rlm_testkit.acp_client import Connection, connected
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]
READ = "print(open('notes.txt').read())"
WRITE = "open('written.txt', 'w').write('hello'); print('wrote written.txt')"
SLEEP = "print('sleeping', flush=True); import time; time.sleep(600)"
NAP = "import time; time.sleep(0.08)"
LATE = "import asyncio; job = asyncio.create_task(rlm.run('a late tool'))"
AFTER = """\
import pathlib, time
while not pathlib.Path('responded').exists(): time.sleep(0.02)
print('after the response')"""


def obedient(request: Request) -> Answer:
    """Run the cell for the task; repeat any other text."""
    said = request.last
    if request.depth:
        return text("late") if request.turn else call("ipython", code=AFTER)
    if request.messages[-1]["role"] == "tool":
        return text("permission denied" if "did not allow" in said else f"done: {said.strip()}")
    task = said.rpartition("\n")[2]
    return call("ipython", code=CELLS[task]) if task in CELLS else text(f"heard: {said}")


CELLS = {"read notes.txt": READ, "write written.txt hello": WRITE, "sleep": SLEEP, "nap": NAP, "late tool": LATE}


class Case:
    """One case: a separate session, and what the client has received."""

    def __init__(self, connection: Connection, cwd: Path) -> None:
        self.connection = connection
        self.cwd = cwd
        self.session = ""

    async def new(self) -> str:
        self.session = (await self.connection.agent.new_session(cwd=str(self.cwd), mcp_servers=[])).session_id
        return self.session

    async def prompt(self, said: Any, *answers: str) -> str:
        self.connection.editor.answers[:] = answers
        blocks = [{"type": "text", "text": said}] if isinstance(said, str) else said
        return str((await self.connection.raw("session/prompt", sessionId=self.session, prompt=blocks))["stopReason"])

    async def refused(self, asking: Awaitable[Any], reason: str = "") -> int:
        with pytest.raises(RequestError, match=reason) as refused:
            await asking
        return refused.value.code

    @property
    def said(self) -> str:
        return self.connection.editor.text(session=self.session)

    async def cancelled(self) -> str:
        asked = asyncio.ensure_future(self.prompt("sleep", "allow_once"))
        await self.connection.editor.wait_for_update("tool_call_update", "sleeping")
        await self.connection.agent.cancel(session_id=self.session)
        self.connection.editor.updates.clear()
        return await asked


async def handshake(case: Case) -> None:
    said = await case.connection.raw("initialize", protocolVersion=1, clientCapabilities={})
    assert (int, dict) == (type(said["protocolVersion"]), type(said["agentCapabilities"]))


async def new_session(case: Case) -> None:
    assert (await case.new()).strip()


async def single_turn(case: Case) -> None:
    await case.new()
    assert "end_turn" == await case.prompt("hello")
    assert "heard: hello" == case.said


async def termination(case: Case) -> None:
    """All updates are about the session, and one comes before the response."""
    await case.new()
    asked = await case.prompt("hello")
    assert (asked, True) == ("end_turn", any(id == case.session for id, _ in case.connection.editor.updates))


async def cancel_in_flight(case: Case) -> None:
    """While the cell runs, and directly after the prompt."""
    await case.new()
    assert "cancelled" == await case.cancelled()
    asked = asyncio.ensure_future(case.prompt("sleep"))
    await asyncio.sleep(0)
    await case.connection.agent.cancel(session_id=case.session)
    assert "cancelled" == await asked


async def cancel_idle(case: Case) -> None:
    await case.new()
    await case.connection.agent.cancel(session_id=case.session)
    assert "end_turn" == await case.prompt("still there")


async def multi_turn(case: Case) -> None:
    await case.new()
    assert ["end_turn", "end_turn"] == [await case.prompt("one"), await case.prompt("two")]
    assert "heard: oneheard: two" == case.said


async def invalid_params(case: Case) -> None:
    for wrong in ({}, {"cwd": 12345}):
        assert -32602 == await case.refused(case.connection.raw("session/new", mcpServers=[], **wrong), "cwd")


async def invalid_cwd(case: Case) -> None:
    assert -32602 == await case.refused(case.connection.raw("session/new", cwd=None, mcpServers=[]), "cwd")


async def invalid_session_type(case: Case) -> None:
    said = [{"type": "text", "text": "hello"}]
    assert -32602 == await case.refused(
        case.connection.raw("session/prompt", sessionId=12345, prompt=said), "sessionId"
    )


async def unknown_session(case: Case) -> None:
    case.session = "missing"
    assert -32603 == await case.refused(case.prompt("hello"), "Unknown session")


async def read_denied(case: Case) -> None:
    await case.new()
    assert ("end_turn", "permission denied") == (await case.prompt("read notes.txt", "reject_once"), case.said)


async def write_denied(case: Case) -> None:
    await case.new()
    assert ("end_turn", "permission denied") == (
        await case.prompt("write written.txt hello", "reject_once"),
        case.said,
    )
    assert not (case.cwd / "written.txt").exists()


async def read_approved(case: Case) -> None:
    await case.new()
    assert ("end_turn", "done: of notes") == (await case.prompt("read notes.txt", "allow_once"), case.said)


async def write_approved(case: Case) -> None:
    await case.new()
    assert ("end_turn", "done: wrote written.txt") == (
        await case.prompt("write written.txt hello", "allow_once"),
        case.said,
    )
    assert "hello" == (case.cwd / "written.txt").read_text()


async def echo_empty(case: Case) -> None:
    await case.new()
    assert "end_turn" == await case.prompt("echo ")


async def unrecognized(case: Case) -> None:
    await case.new()
    assert ("end_turn", "heard: no-such-command") == (await case.prompt("no-such-command"), case.said)


async def structured_blocks(case: Case) -> None:
    await case.new()
    link = {"type": "resource_link", "name": "notes", "uri": "file:///work/notes.txt"}
    resource = {"type": "resource", "resource": {"uri": "file:///work/sent.txt", "text": "sent along"}}
    assert "end_turn" == await case.prompt([{"type": "text", "text": "see "}, link, resource])
    assert case.said.startswith("heard: see `/work/notes.txt``/work/sent.txt`")
    assert '<file path="/work/sent.txt">\nsent along\n</file>' in case.said


async def background(case: Case) -> None:
    await case.new()
    asked = asyncio.ensure_future(case.prompt("nap", "allow_once"))
    assert "end_turn" == await asked


async def followup(case: Case) -> None:
    await case.new()
    assert "cancelled" == await case.cancelled()
    assert ("end_turn", True) == (await case.prompt("go on"), "go on" in case.said)


async def post_success_drain(case: Case) -> None:
    """Actions of a sub-agent after the response are reported, too."""
    await case.new()
    assert ("end_turn", "done: [no output]") == (await case.prompt("late tool", "allow_once", "allow_once"), case.said)
    (case.cwd / "responded").touch()
    await case.connection.editor.wait_for_update("tool_call_update", "after the response")
    assert {case.session} == {id for id, _ in case.connection.editor.updates}


PROFILE = {
    "acp.v1.initialize.handshake": handshake,
    "acp.v1.session.new.basic": new_session,
    "acp.v1.session.prompt.single_turn": single_turn,
    "acp.v1.session.update.termination": termination,
    "acp.v1.session.cancel.in_flight": cancel_in_flight,
    "acp.v1.session.cancel.idle": cancel_idle,
    "acp.v1.session.prompt.multi_turn": multi_turn,
    "acp.v1.errors.invalid_params": invalid_params,
    "acp.v1.errors.invalid_prompt_session_type": invalid_session_type,
    "acp.v1.errors.permission_denied": read_denied,
    "acp.v1.errors.permission_denied.write": write_denied,
    "acp.v1.errors.unknown_session": unknown_session,
    "acp.v1.session.prompt.echo_empty": echo_empty,
    "acp.v1.session.prompt.unrecognized": unrecognized,
    "acp.v1.errors.invalid_params.cwd_null": invalid_cwd,
    "acp.v1.session.prompt.structured_blocks": structured_blocks,
    "acp.v1.permissions.read.approved": read_approved,
    "acp.v1.permissions.write.approved": write_approved,
    "acp.v1.session.prompt.background_completion": background,
    "acp.v1.session.cancel.followup_prompt": followup,
    "acp.v1.session.prompt.post_success_drain": post_success_drain,
}


async def test_all_cases_of_the_profile_pass_on_one_connection(rlm: Make) -> None:
    with Scripted(obedient) as server:
        command = rlm(server)
        (command.cwd / "notes.txt").write_text("of notes")
        async with connected(command, "--confirm", "--max-depth", "1") as connection:
            for id, run in PROFILE.items():
                connection.editor.updates.clear()
                try:
                    await run(Case(connection, command.cwd))
                except Exception as error:
                    raise AssertionError(f"{id} fails") from error


# ---- the client itself

ACPX, NODE = "0.19.1", "22"


def installed(folder: Path) -> list[str]:
    """The command that starts acpx with the node version that it requires, both from the npm index."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("NOT TESTED with acpx: there is no npm")
    target = folder / f"acpx-{ACPX}"
    program = target / "node_modules/acpx/dist/cli.js"
    if not program.exists():
        words = (
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(target),
            f"node@{NODE}",
            f"acpx@{ACPX}",
        )
        done = subprocess.run([npm, *words], capture_output=True, text=True, timeout=250, check=False)
        if done.returncode:
            pytest.skip(f"NOT TESTED with acpx: npm cannot install it: {done.stderr[-200:]}")
    return [str(target / "node_modules/node/bin/node"), str(program)]


def test_the_client_acpx_runs_a_prompt_and_continues_a_session(rlm: Make) -> None:
    acpx = installed(Path.home() / ".cache/rlm-tests")
    with Scripted(obedient) as server:
        rlm_command = rlm(server)
        (rlm_command.cwd / "notes.txt").write_text("of notes")

        def run(*words: str) -> str:
            command = [*acpx, "--agent", f"{rlm_command.command} acp --confirm", "--approve-all", *words]
            done = subprocess.run(
                command,
                cwd=rlm_command.cwd,
                env=rlm_command.env(),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        assert "done: of notes" in run("exec", "read notes.txt")
        session = run("sessions", "new").strip()
        assert "[done] end_turn" in run("prompt", "write written.txt hello")
        assert session in run("sessions", "list")
    assert "hello" == (rlm_command.cwd / "written.txt").read_text()
