"""Actions of a front end beside an agent's tasks: the user's cells, messages, edits, another model, `confirm`."""

from __future__ import annotations

import json
from collections.abc import Callable

from rlm_testkit import law
from rlm_testkit.cli import Rlm, python
from rlm_testkit.scripted import Answer, Request, Scripted, call, calls, text, usage

Make = Callable[[Scripted], Rlm]

PROGRAM = """\
import asyncio, rlm
from pathlib import Path
from rlm.config.sources import read_config
from rlm.errors import ConfigError
from rlm.host.spec import AgentSpec
from rlm.host.agent_tool import Approval

asked = []

async def approve(tool, arguments):
    asked.append(arguments["code"])
    agent.user.say("and be quick")
    return Approval(ok="never" not in arguments["code"], reason="I said so")

async def main():
    global agent
    config = read_config({"confirm": "on"})
    spec = AgentSpec("", config, Path.cwd())
    async with rlm.Host(config) as host:
        try:
            await host.new_run(spec)
        except ConfigError as error:
            print(error)
        async with await host.new_run(spec, approve=approve) as run:
            agent = run.agent
            try:
                agent.conversation()
            except ConfigError as error:
                print(error)
            await agent.user.run_cell("x = 41", told=True)
            await agent.user.run_cell("secret = 1", told=False)
            slow = asyncio.create_task(agent.user.run_cell("import time; print('slow', flush=True); time.sleep(60)", told=True))
            while agent.kernel.names == () or await agent.kernel.evaluate("'time' in dir()") != "[not read: a cell is running]":
                await asyncio.sleep(0.01)
            slow.cancel()
            await asyncio.wait({slow})
            print(await run.ask("first"), agent.user.take_undelivered())
            conversation = agent.conversation()
            print([text for _, text in conversation.tasks()])
            conversation.hide(1)
            agent.use_model("other")
            await run.ask("second")
            conversation = agent.conversation()
            number, text = conversation.tasks()[-1]
            conversation.take_back(number)
            print(await run.ask("third"), asked)
asyncio.run(main())
"""


def test_the_user_and_the_agent_share_a_kernel_and_a_conversation(rlm: Make) -> None:
    turns = (call("ipython", code="x + 1"), call("ipython", code="never"), text("one"), text("two"), text("three"))
    with Scripted(*turns) as server:
        command = rlm(server)
        done = python(command, PROGRAM)
    assert ("", 5) == (done.stderr, len(server.requests)), done.stderr
    assert done.stdout.splitlines() == [
        "--confirm asks at the prompt: start `rlm` without a task.",
        "Nothing has been said yet.",
        "one []",
        "['first']",
        "three ['x + 1', 'never']",
    ]
    first, second, third, fourth, fifth = server.requests
    assert "The user ran this cell in your kernel:\n```python\nx = 41\n```" in first.last
    assert "[interrupted by the user]" in first.last
    assert "secret" not in first.last
    assert first.last.endswith("first"), "one message, because some templates refuse two user messages in a row"
    assert second.last == "42\n\n\nand be quick", "a message of the user, joined to the result"
    assert third.last == "Not run: the user did not allow it: I said so\n\nand be quick"
    assert "42" not in str(fourth.messages), "the turn is hidden"
    assert "quick" in str(fourth.messages), "the user's messages are not"
    assert (fourth.body["model"], fourth.last) == ("other", "second")
    assert fifth.messages == [*fourth.messages[:-1], {"role": "user", "content": "third"}]
    session = command("ls").session
    law.check(session, server)
    cells = [record for record in session.records if record["type"] == "user_cell"]
    assert [(cell["code"].split(";")[0], cell["ok"], cell["told"]) for cell in cells] == [
        ("x = 41", True, True),
        ("secret = 1", True, False),
        ("import time", False, True),
    ]
    shown = command("show").out
    assert "the user ran a cell" in shown
    notebook = json.loads(command("export", "--format", "ipynb").out)
    marked = [cell["source"] for cell in notebook["cells"] if cell["metadata"].get("tags") == ["user"]]
    assert len(cells) == len(marked)


OTHER_MODEL = """\
import asyncio, rlm

async def main():
    async with rlm.Host() as host, host.open() as run:
        await run.ask("first")
        run.agent.use_model("small")
        await run.ask("second")
asyncio.run(main())
"""


def test_another_model_brings_its_own_window_and_is_that_of_model_calls_too(rlm: Make) -> None:
    def answer(request: Request) -> Answer:
        if request.last.startswith("call "):
            return text("called")
        if request.last in {"first", "second"}:
            return calls(("ipython", {"code": f"await rlm.llm('call {request.last}')"}), usage=usage(4500, 10))
        return text("done", usage=usage(4500, 10))

    models = [{"id": "scripted", "max_model_len": 100_000}, {"id": "small", "max_model_len": 5_000}]
    with Scripted(answer, models=models) as server:
        done = python(rlm(server), OTHER_MODEL)
    assert (done.stderr, done.returncode) == ("", 0)
    models_of_calls = {
        request.last: request.body["model"] for request in server.requests if request.last.startswith("call ")
    }
    assert models_of_calls == {"call first": "scripted", "call second": "small"}
    assert any("summar" in request.last.lower() for request in server.requests), "the small window is nearly full"


CANCELLED_REPLAY = """\
import asyncio, rlm
from pathlib import Path

async def main():
    async with rlm.Host() as host:
        async with host.open() as run:
            await run.ask("first")
        async with host.open(session=run.session.folder, replay=True) as run:
            cancelled = asyncio.create_task(run.ask("second"))
            while Path("runs").read_text() != "xx":
                await asyncio.sleep(0.01)
            cancelled.cancel()
            await asyncio.wait({cancelled})
            await run.ask("third")
asyncio.run(main())
"""
SLOW_THE_SECOND_TIME = """\
import time
from pathlib import Path
runs = Path("runs").read_text() if Path("runs").exists() else ""
Path("runs").write_text(runs + "x")
time.sleep(60 if runs == "x" else 0)
"""


def test_an_agent_learns_of_its_fresh_kernel_although_its_first_task_was_cancelled_meanwhile(rlm: Make) -> None:
    with Scripted(call("ipython", code=SLOW_THE_SECOND_TIME), text("one"), text("three")) as server:
        done = python(rlm(server), CANCELLED_REPLAY)
    assert (done.stderr, done.returncode, len(server.requests)) == ("", 0, 3)
    assert server.requests[-1].last.endswith("third")
    assert "its cells were run again, so their variables are there" in str(server.requests[-1].messages)
