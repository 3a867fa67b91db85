"""`rlm.Host` in a program of one's own: one host, many runs, and agents that are asked again and again."""

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
        made = rlm(server)
        done = python(made, program)
    assert ("one\ntwo 4\nfirst\n", "") == (done.stdout, done.stderr)
    assert "42" == server.requests[-1].last.strip()
    assert ["first", "second"] == [m["content"] for m in server.requests[-1].messages if m["role"] == "user"]
    records = [json.loads(line) for line in next(made.cwd.rglob("messages.jsonl")).read_text().splitlines()]
    assert ["result", "result"] == [r["type"] for r in records if r["type"] == "result"]


def test_an_ask_that_is_cancelled_or_fails_leaves_an_agent_that_can_be_asked(rlm: Make) -> None:
    program = (
        "import asyncio, rlm\n"
        "async def main():\n"
        "    async with rlm.Host() as host, host.open() as agent:\n"
        "        try:\n"
        "            await agent.ask('slow', timeout=3)\n"
        "        except rlm.AgentError as error:\n"
        "            print(error, error.session_dir is not None)\n"
        "        print(await agent.ask('again'))\n"
        "asyncio.run(main())"
    )

    def script(request: Request) -> Answer:
        if "again" in str(request.messages):
            return text("x")
        return call("ipython", code="import time; time.sleep(600)")

    with Scripted(script) as server:
        done = python(rlm(server), program)
    assert ("timed out after 3 s True\nx\n", "") == (done.stdout, done.stderr)


def test_six_runs_at_once_start_kernels_from_one_process(rlm: Make) -> None:
    """The kernels of one host have the same parent."""
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


def test_what_is_not_allowed_is_refused_by_its_name_before_anything_is_changed(rlm: Make) -> None:
    program = (
        "import asyncio, rlm\n"
        "for settings in ({'max_turns': 0}, {'max_turns': '3'}, {'tools': ['nose']}, {'max_turn': 3}, {'images': 'on'}):\n"
        "    try:\n"
        "        rlm.run_sync('go', **settings)\n"
        "    except rlm.ConfigError as error:\n"
        "        print(error)\n"
    )
    with Scripted(text("never")) as server:
        made = rlm(server)
        done = python(made, program)
    lines = done.stdout.splitlines()
    assert (5, "") == (len(lines), done.stderr)
    assert lines[0] == "max_turns=0 is not allowed: it takes a whole number, at least 1."
    assert "Did you mean max_turns?" in lines[3]
    assert not list(made.cwd.iterdir())
