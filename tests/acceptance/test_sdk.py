"""`rlm.run` and `rlm.stream` in a program of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from cli import Rlm
from scripted import Scripted, call, text

Make = Callable[[Scripted], Rlm]


def python(made: Rlm, program: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(
        command, cwd=made.cwd, env=made.env(**env), capture_output=True, text=True, timeout=60, check=False
    )


def test_a_program_runs_an_agent_and_gets_its_result(rlm: Make) -> None:
    program = (
        "import asyncio, rlm\n"
        "r = asyncio.run(rlm.run('go', max_turns=5, context={'n': 7}))\n"
        "print(r.answer, r.ok, r.stop, r.turns, r.usage.completion, (r.session_dir / 'meta.json').exists())"
    )
    with Scripted(call("ipython", code="print(context['n'])"), text("done")) as server:
        done = python(rlm(server), program)
        assert "7" == server.requests[1].last.strip()
    assert ("done True done 2 20 True\n", "") == (done.stdout, done.stderr)


def test_a_program_watches_the_records_as_they_happen(rlm: Make) -> None:
    program = (
        "import asyncio, json, rlm\n"
        "async def main():\n"
        "    async for record in rlm.stream('go', tools=('ipython',)):\n"
        "        print(json.dumps(record))\n"
        "asyncio.run(main())"
    )
    with Scripted(call("ipython", code="1+1"), text("done")) as server:
        done = python(rlm(server), program)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert "session" == records[0]["type"]
    assert ("result", "done") == (records[-1]["type"], records[-1]["answer"])
    assert {"cell_start", "cell_end", "delta", "message"} <= {record["type"] for record in records}


def test_leaving_the_stream_cancels_the_run(rlm: Make) -> None:
    program = (
        "import asyncio, rlm\n"
        "async def main():\n"
        "    stream = rlm.stream('go')\n"
        "    async for record in stream:\n"
        "        break\n"
        "    await stream.aclose()\n"
        "asyncio.run(main())"
    )
    with Scripted(text("late").after(60)) as server:
        made = rlm(server)
        done = python(made, program)
    assert (0, "") == (done.returncode, done.stderr)
    session = next((made.cwd / ".rlm" / "sessions").glob("[0-9a-f]*"))
    assert "cancelled" == json.loads((session / "meta.json").read_text())["status"]


def test_a_failed_run_raises_from_the_one_tree_of_errors(alone: Rlm) -> None:
    program = (
        "import asyncio, rlm\n"
        "try:\n    asyncio.run(rlm.run('go'))\n"
        "except rlm.RlmError as error:\n    print(type(error).__name__)"
    )
    assert "CredentialsError\n" == python(alone, program).stdout


def refused(made: Rlm, call: str) -> str:
    """What a program is told when it calls so."""
    program = (
        "import asyncio, rlm\n"
        "async def main():\n"
        f"    async for _ in rlm.stream({call}): pass\n"
        f"for one in (main, lambda: rlm.run({call})):\n"
        "    try:\n        asyncio.run(one())\n"
        "    except rlm.ConfigError as error:\n        print(error)"
    )
    done = python(made, program)
    ran, streamed = done.stdout.splitlines()
    assert (ran, "") == (streamed, done.stderr)
    return ran


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("tools=('python',)", "tools='python' is not allowed"),
        ("tools='python'", "tools='python' is not allowed"),
        ("max_turns=0", "max_turns='0' is not allowed: it takes a whole number, at least 1"),
        ("timeout='soon'", "timeout='soon' is not allowed: it takes a number of seconds above 0"),
        ("timeout=0", "timeout='0' is not allowed"),
        ("timeout=-1", "timeout='-1' is not allowed"),
        ("timeout=float('nan')", "timeout='nan' is not allowed"),
        ("cwd='nowhere'", "work/nowhere' is not allowed: it takes a folder that exists"),
        ("cwd='a-file'", "work/a-file' is not allowed: it takes a folder that exists"),
        ("cwd='x' * 10_000", "xxx' is not allowed: it takes a folder that exists"),
    ],
)
def test_a_bad_argument_is_refused_with_what_is_allowed_and_no_agent_starts(
    rlm: Make, argument: str, reason: str
) -> None:
    with Scripted(text("never")) as server:
        made = rlm(server)
        (made.cwd / "a-file").touch()
        assert reason in refused(made, f"'go', {argument}")
    assert [] == server.requests
    assert not (made.cwd / ".rlm").exists()


def test_none_is_an_argument_that_is_not_given(rlm: Make) -> None:
    given = "model=None, tools=None, max_turns=None, cwd=None, system_prompt=None, timeout=None"
    program = (
        "import asyncio, rlm\n"
        "async def main():\n"
        f"    async for record in rlm.stream('go', {given}): pass\n"
        "    print(record['answer'])\n"
        f"asyncio.run(main())\nprint(asyncio.run(rlm.run('go', {given})).answer)"
    )
    with Scripted(text("one"), text("two")) as server:
        done = python(rlm(server), program)
    assert ("one\ntwo\n", "") == (done.stdout, done.stderr)
    first, second = [request.body for request in server.requests]
    assert "scripted" == first["model"] == second["model"]
    assert first["tools"] == second["tools"] != []


def test_tools_may_be_one_text_as_the_setting_is(rlm: Make) -> None:
    program = "import asyncio, rlm\nprint(asyncio.run(rlm.run('go', tools='bash, edit')).answer)"
    with Scripted(text("done")) as server:
        assert "done\n" == python(rlm(server), program).stdout
    assert ["bash", "edit"] == [tool["function"]["name"] for tool in server.requests[0].body["tools"]]


def test_a_relative_cwd_is_relative_to_the_programs(rlm: Make) -> None:
    program = (
        "import asyncio, os, rlm\nos.makedirs('inner/deep')\nos.chdir('inner')\n"
        "print(asyncio.run(rlm.run('go', cwd='deep')).answer)"
    )
    with Scripted(call("ipython", code="import os\nprint(os.getcwd())"), text("done")) as server:
        made = rlm(server)
        assert "done\n" == python(made, program).stdout
    assert str((made.cwd / "inner" / "deep").resolve()) == server.requests[1].last.strip()


def test_importing_rlm_imports_nothing_heavy(alone: Rlm) -> None:
    program = (
        "import sys, rlm\nrlm.run\n"
        "print([name for name in ('openai', 'IPython', 'zmq', 'rich', 'pydantic', 'jupyter_client') if name in sys.modules])"
    )
    assert "[]\n" == python(alone, program).stdout
