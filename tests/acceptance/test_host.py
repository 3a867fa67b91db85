"""`rlm.Host` in a user's program: one host, many runs, and agents that get several tasks."""

from __future__ import annotations

import json
from collections.abc import Callable

from rlm_testkit.cli import Rlm, python
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]


def test_an_agent_is_asked_again_on_the_same_kernel(rlm: Make) -> None:
    program = (
        "import asyncio, json, rlm\n"
        "async def main():\n"
        "    async with rlm.Host() as host, host.open(max_turns=2) as agent:\n"
        "        print(await agent.ask('first'))\n"
        "        second = await agent.ask('second')\n"
        "        print(second, second.turns)\n"
        "        meta = json.loads((second.session_dir / 'meta.json').read_text())\n"
        "        print(meta['prompt_preview'])\n"
        "asyncio.run(main())"
    )
    turns = (call("ipython", code="x = 41"), text("one"), call("ipython", code="x + 1"), text("two"))
    with Scripted(*turns) as server:
        command = rlm(server)
        done = python(command, program)
    assert ("one\ntwo 4\nfirst\n", "") == (done.stdout, done.stderr)
    assert "42" == server.requests[-1].last.strip()
    assert ["first", "second"] == [m["content"] for m in server.requests[-1].messages if m["role"] == "user"]
    records = [json.loads(line) for line in next(command.cwd.rglob("messages.jsonl")).read_text().splitlines()]
    assert ["result", "result"] == [r["type"] for r in records if r["type"] == "result"]


def test_an_ask_that_is_cancelled_or_fails_leaves_an_agent_that_can_be_asked(rlm: Make) -> None:
    program = (
        "import asyncio, rlm\n"
        "async def main():\n"
        "    async with rlm.Host() as host, host.open() as agent:\n"
        "        try:\n"
        "            await agent.ask('slow', timeout=3)\n"
        "        except rlm.AgentError as error:\n"
        "            print(error, error.session_dir is not None, error.stop)\n"
        "        print(await agent.ask('again'))\n"
        "asyncio.run(main())"
    )

    def script(request: Request) -> Answer:
        if "again" in str(request.messages):
            return text("x")
        return call("ipython", code="import time; time.sleep(600)")

    with Scripted(script) as server:
        done = python(rlm(server), program)
    assert ("timed out after 3 s True timeout\nx\n", "") == (done.stdout, done.stderr)


def test_six_runs_at_once_start_kernels_from_one_process(rlm: Make) -> None:
    """The kernels of one host have the same parent process."""
    program = (
        "import asyncio, rlm\n"
        "async def main():\n"
        "    async with rlm.Host() as host:\n"
        "        results = await asyncio.gather(*(host.run(str(n)) for n in range(6)))\n"
        "    print(len(results), len({str(r) for r in results}), len({r.session_dir for r in results}))\n"
        "asyncio.run(main())"
    )

    def script(request: Request) -> Answer:
        return text(request.last.strip()) if request.turn else call("ipython", code="import os; print(os.getppid())")

    with Scripted(script) as server:
        done = python(rlm(server), program)
    assert ("6 1 6\n", "") == (done.stdout, done.stderr)


def test_two_hosts_of_one_program_have_endpoints_and_settings_of_their_own(rlm: Make) -> None:
    with Scripted(text("left")) as left, Scripted(text("right")) as right:
        program = (
            "import asyncio, rlm\n"
            "async def main():\n"
            f"    one = rlm.Host(base_url={left.url!r}, api_key='key-of-the-left', home='a', tools=())\n"
            f"    two = rlm.Host(base_url={right.url!r}, home='b', tools=['ipython'], max_turns=7)\n"
            "    async with one, two:\n"
            "        results = await asyncio.gather(one.run('go'), two.run('go'))\n"
            "    print(*results, *(r.session_dir.parent.parent.name for r in results))\n"
            "asyncio.run(main())"
        )
        done = python(rlm(left), program)
    assert ("left right a b\n", "") == (done.stdout, done.stderr)
    assert "Bearer key-of-the-left" == left.requests[0].headers["authorization"]
    assert "key-of-the-left" not in str(right.requests[0].headers)
    assert (0, 1) == tuple(len(server.requests[0].body.get("tools", ())) for server in (left, right))


def test_invalid_arguments_are_refused_by_name_before_anything_is_changed(rlm: Make) -> None:
    program = (
        "import asyncio, rlm\n"
        "for settings in ({'max_turns': 0}, {'max_turns': '3'}, {'tools': ['nose']}, {'max_turn': 3}, {'images': 'on'}):\n"
        "    try:\n"
        "        rlm.run_sync('go', **settings)\n"
        "    except rlm.ConfigError as error:\n"
        "        print(error)\n"
    )
    with Scripted(text("never")) as server:
        command = rlm(server)
        done = python(command, program)
    lines = done.stdout.splitlines()
    assert (5, "") == (len(lines), done.stderr)
    assert lines[0] == "max_turns=0 is not allowed: it takes a whole number, at least 1."
    assert "Did you mean max_turns?" in lines[3]
    assert not list(command.cwd.iterdir())


RESUMES = """
import asyncio, json, os, rlm
from pathlib import Path
async def main():
    async with rlm.Host(max_turns=7, tools=["ipython"]) as host:
        first = await host.run("first", max_depth=1)
    async with rlm.Host() as host:
        id = first.session_dir.name
        print(await host.resume(id, "second"), settings(first))
        fork = await host.resume(first.session_dir, max_turns=9, fork=True)
        print(fork, settings(fork), settings(first))
        async with host.open(id=id[:8], replay=True) as agent:
            print(await agent.ask("fourth"), (await agent.ask("fifth")).session_dir == first.session_dir)
        await refused(host)
    os.chdir(first.session_dir)
    async with rlm.Host(home=first.session_dir.parent.parent) as host:
        for name in ("SessionError", "ConfigError"):
            try:
                await host.resume("ffffffffffff" if name == "SessionError" else id)
            except getattr(rlm, name) as error:
                print(error)
        print(await host.resume(id, "sixth", cwd="."))
def settings(result):
    kept = json.loads((result.session_dir / "meta.json").read_text())["settings"]
    return kept["max_turns"], kept["max_depth"], kept["tools"]
async def refused(host):
    (foreign := Path(".rlm/sessions") / ("a" * 12)).mkdir()
    (foreign / "messages.jsonl").touch()
    for how in ({"session": 7}, {"session": "/nowhere/at/all"}, {"fork": True}, {"session": foreign}):
        try:
            async with host.open(**how):
                print("opened")
        except rlm.ConfigError as error:
            print(error)
asyncio.run(main())
"""


def test_a_session_is_continued_by_its_id_its_folder_or_its_first_digits(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        tasks = [str(m["content"]).rpartition("\n")[2] for m in request.messages if m["role"] == "user"]
        asked = request.messages[-1]["role"] == "user"
        if asked and tasks[-1] in ("first", "fifth"):
            return call("ipython", code="x = 40; x" if tasks[-1] == "first" else "x + 2")
        return text(f"did {tasks[-1]}")

    with Scripted(script) as server:
        command = rlm(server)
        done = python(command, RESUMES)
    lines = done.stdout.splitlines()
    assert ("", 10) == (done.stderr, len(lines))
    kept = "('7', '1', 'ipython')"
    assert [f"did second {kept}", f"did Go on with the task. ('9', '1', 'ipython') {kept}"] == lines[:2]
    assert "did fourth True" == lines[2]
    assert "42" in [str(m["content"]).strip() for m in server.requests[-2].messages]
    assert all("session=" in line and "is not allowed" in line for line in lines[3:5])
    assert "name it" in lines[5]
    assert "You did not create" in lines[6]
    assert "There is no session ffffffffffff" in lines[7]
    assert "which is not in this folder" in lines[8]
    assert "`cwd=`" in lines[8]
    assert "did sixth" == lines[9]
    assert 2 == len([path for path in (command.cwd / ".rlm/sessions").iterdir() if (path / "meta.json").exists()])


MISUSES = """
import asyncio, rlm

async def refused(work):
    try:
        await work
    except rlm.RlmError as error:
        print(error)

async def opened(**options):
    async with host.open(**options):
        pass

async def main():
    global host
    host = rlm.Host()
    await refused(host.run('go'))
    async with host:
        await refused(host.run('go', base_url='http://127.0.0.1:9'))
        await refused(opened(id='abc', api_key='other'))
        await refused(host.resume(''))
        await refused(opened(id=''))
        await refused(opened(session='abc', id='def'))
        async with host.open() as agent:
            first = asyncio.ensure_future(agent.ask('first'))
            await asyncio.sleep(0)
            await refused(agent.ask('second'))
            print(await first)
        await refused(agent.ask('third'))
        try:
            rlm.run_sync('go')
        except rlm.RlmError as error:
            print(error)
    await refused(host.run('go'))

asyncio.run(main())
"""


def test_what_a_host_or_an_agent_cannot_do_is_refused_with_a_reason(rlm: Make) -> None:
    with Scripted(text("one")) as server:
        done = python(rlm(server), MISUSES)
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            "The host is not open: use it within `async with`.",
            "base_url is a setting of the host: Host(base_url=…).",
            "api_key is a setting of the host: Host(api_key=…).",
            "session='' is not allowed: it takes an id, or the folder of a session.",
            "session='' is not allowed: it takes an id, or the folder of a session.",
            "Name the session by `session` or by `id`, not by both.",
            "The agent works on another task: wait for its result, or open another agent.",
            "one",
            "The agent is closed: ask it within `async with`.",
            "An event loop runs here, so rlm.run_sync would block it. Use: await rlm.run(...)",
            "The host is not open: use it within `async with`.",
        ],
    )
