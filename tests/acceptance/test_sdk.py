"""`rlm.run` and `rlm.stream` in a program of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

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


def test_a_bad_argument_is_a_configuration_error(rlm: Make) -> None:
    program = (
        "import asyncio, rlm\n"
        "try:\n    asyncio.run(rlm.run('go', tools=('python',)))\n"
        "except rlm.ConfigError as error:\n    print(error)"
    )
    with Scripted(text("never")) as server:
        assert "'python'" in python(rlm(server), program).stdout


def test_importing_rlm_imports_nothing_heavy(alone: Rlm) -> None:
    program = (
        "import sys, rlm\nrlm.run\n"
        "print([name for name in ('openai', 'IPython', 'zmq', 'rich', 'pydantic', 'jupyter_client') if name in sys.modules])"
    )
    assert "[]\n" == python(alone, program).stdout
