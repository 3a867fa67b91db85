"""`rlm.run` and `rlm.stream` in a user's program."""

from __future__ import annotations

import json
from collections.abc import Callable

from rlm_testkit.cli import Rlm, python
from rlm_testkit.scripted import Answer, Request, Scripted, by_task, call, error, hang, text

Make = Callable[[Scripted], Rlm]


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
        command = rlm(server)
        done = python(command, program)
    assert (0, "") == (done.returncode, done.stderr)
    session = next((command.cwd / ".rlm" / "sessions").glob("[0-9a-f]*"))
    assert "cancelled" == json.loads((session / "meta.json").read_text())["status"]


def test_a_loop_that_is_left_as_the_program_ends_stops_the_run(rlm: Make) -> None:
    """The end of `asyncio.run` cancels all tasks at once; kernels must end all the same, without messages."""
    program = (
        "import asyncio, rlm\n"
        "async def one():\n"
        "    async for record in rlm.stream('go'):\n"
        "        if record['type'] == 'cell_end':\n"
        "            break\n"
        "async def many():\n"
        "    async for result in rlm.batch([f'task {n}' for n in range(9)], concurrency=3, output='out'):\n"
        "        print(result.ok)\n"
        "        break\n"
        "asyncio.run(one())\n"
        "asyncio.run(many())\n"
        "print('ended')"
    )

    def script(request: Request) -> Answer:
        return text("done") if request.turn else call("ipython", code="1+1")

    with Scripted(script) as server:
        done = python(rlm(server), program)
    assert ("True\nended\n", "") == (done.stdout, done.stderr)


def test_a_failed_run_raises_from_the_one_tree_of_errors(alone: Rlm) -> None:
    program = (
        "import asyncio, rlm\n"
        "try:\n    asyncio.run(rlm.run('go'))\n"
        "except rlm.RlmError as error:\n    print(type(error).__name__)"
    )
    assert "CredentialsError\n" == python(alone, program).stdout


def refused(command: Rlm, *arguments: str) -> list[str]:
    """The error that a program gets for this call."""
    program = "import asyncio, rlm\n"
    for words in arguments:
        program += (
            "async def main():\n"
            f"    async for _ in rlm.stream({words}): pass\n"
            f"for one in (main, lambda: rlm.run({words})):\n"
            "    try:\n        asyncio.run(one())\n"
            "    except rlm.ConfigError as error:\n        print(error)\n"
        )
    done = python(command, program)
    said = done.stdout.splitlines()
    assert (said[::2], "") == (said[1::2], done.stderr)
    return said[::2]


BAD_ARGUMENTS = [
    ("tools=('python',)", "tools=('python',) is not allowed"),
    ("tools='python'", "tools='python' is not allowed"),
    ("max_turns=0", "max_turns=0 is not allowed: it takes a whole number, at least 1"),
    ("timeout='soon'", "timeout='soon' is not allowed: it takes a number of seconds above 0"),
    ("timeout=0", "timeout=0 is not allowed"),
    ("timeout=-1", "timeout=-1 is not allowed"),
    ("timeout=float('nan')", "timeout=nan is not allowed"),
    ("cwd='nowhere'", "work/nowhere' is not allowed: it takes a folder that exists"),
    ("cwd='a-file'", "work/a-file' is not allowed: it takes a folder that exists"),
    ("cwd='x' * 10_000", "xxx' is not allowed: it takes a folder that exists"),
]


def test_a_bad_argument_is_refused_with_the_allowed_values_and_no_agent_starts(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        command = rlm(server)
        (command.cwd / "a-file").touch()
        said = refused(command, *(f"'go', {argument}" for argument, _ in BAD_ARGUMENTS))
    assert len(BAD_ARGUMENTS) == len(said)
    assert [] == [reason for (_, reason), line in zip(BAD_ARGUMENTS, said, strict=True) if reason not in line]
    assert [] == server.requests
    assert not (command.cwd / ".rlm").exists()


def test_none_is_an_argument_that_is_not_given(rlm: Make) -> None:
    arguments = "model=None, tools=None, max_turns=None, cwd=None, system_prompt=None, timeout=None"
    program = (
        "import asyncio, rlm\n"
        "async def main():\n"
        f"    async for record in rlm.stream('go', {arguments}): pass\n"
        "    print(record['answer'])\n"
        f"asyncio.run(main())\nprint(asyncio.run(rlm.run('go', {arguments})).answer)"
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
        command = rlm(server)
        assert "done\n" == python(command, program).stdout
    assert str((command.cwd / "inner" / "deep").resolve()) == server.requests[1].last.strip()


PICKLED = """
import anyio, asyncio, os, rlm, sys, threading
class Odd:
    def __init__(self, error): self.error = error
    def __reduce__(self): raise self.error
class NoLength(list):
    def __len__(self): raise ValueError
class NoRepr:
    def __repr__(self): raise ValueError
deep = []
for _ in range(100_000): deep = [deep]
bad = {
    "a lock": threading.Lock(), "a lock within": [{"a": threading.Lock()}], "a generator": (x for x in ()),
    "an open file": sys.stdout, "too deep": deep, "an error without words": Odd(MemoryError()), "no file": Odd(OSError(2, "no")),
}
good = {"a module": os, "a lambda": lambda: 1, "no length": NoLength(), "no repr": NoRepr(), "a class": Odd, "none": None}
def run(name, *task, **options):
    try:
        print(name, anyio.run(lambda: rlm.run(*task, tools=(), **options)).answer, sep=": ")
    except rlm.RlmError as error:
        print(name, type(error).__name__, error.session_dir, str(error)[:60], sep=": ")
for name, context in {**bad, **good}.items():
    run(name, "go", context=context)
for task in ("", " \\n\\t", None, b"go", 7):
    run(repr(task), task)
for begin in (rlm.run("go").send, rlm.stream("go").__anext__().send):
    try:
        begin(None)
    except rlm.RlmError as error:
        print("no loop", error, sep=": ")
"""


def test_bad_contexts_tasks_and_loops_are_errors_of_rlm(rlm: Make) -> None:
    with Scripted(lambda _: text("done")) as server:
        done = python(rlm(server), PICKLED)
    assert "" == done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    pickled = {name: words for name, words in said.items() if "The context cannot be pickled (" in words}
    assert ["a lock", "a lock within", "a generator", "too deep", "an error without words", "no file"] == list(pickled)
    assert all(words.startswith("ConfigError: None: ") for words in pickled.values())
    assert "(MemoryError)" in said["an error without words"]
    fine = {name for name, words in said.items() if words == "done"}
    assert {"an open file", "a module", "a lambda", "no length", "no repr", "a class", "none"} == fine
    assert said["''"] == said["' \\n\\t'"] == "ConfigError: None: The task is empty."
    assert "ConfigError: None: The task is a NoneType. It must be a text." == said["None"]
    assert {"b'go'", "7"} < said.keys()
    assert "asyncio.run(rlm.run(...))" in said["no loop"]
    assert 7 == len(server.requests)


FAILED = """
import asyncio, json, os, rlm
async def main(task, **options):
    records = []
    try:
        async for record in rlm.stream(task, tools=("bash",), **options):
            records.append(record)
    except rlm.RlmError as error:
        print(json.dumps([type(error).__name__, str(error), str(error.session_dir), error.usage.prompt, records[-1]]))
    try:
        print((await rlm.run(task, tools=("bash",), **options)).stop)
    except rlm.RlmError as error:
        print(json.dumps([type(error).__name__, str(error), error.session_dir.is_dir(), error.usage.prompt]))
        meta = json.loads((error.session_dir / "meta.json").read_text())
        assert task != "hang" or [error.stop, meta["stop_reason"], meta["status"]] == ["timeout", "timeout", "limit"]
for task in ("key", "model", "later"):
    asyncio.run(main(task))
asyncio.run(main("hang", timeout=4))
async def never():
    os.environ["RLM_BASE_URL"] = "ftp://nowhere"
    try:
        async for record in rlm.stream("go"):
            print(json.dumps(record))
    except rlm.ConfigError as error:
        assert record["error"] == str(error)
asyncio.run(never())
"""


def test_an_error_carries_the_session_and_its_usage_and_the_last_record_of_a_stream_is_the_commands(rlm: Make) -> None:
    work = call("bash", command="true")
    kinds = {
        "key": ("CredentialsError", 4, error(401, "no")),
        "model": ("ModelError", 1, error(400, "no")),
        "later": ("ModelUnavailable", 75, error(429, "no", retry_after="9000")),
        "hang": ("AgentError", 3, hang()),
    }
    with Scripted(by_task({task: [work, answer] for task, (_, _, answer) in kinds.items()})) as server:
        rlm_command = rlm(server)
        done = python(rlm_command, FAILED)
        commands = [rlm_command("--json", "--tools", "bash", task).lines[-1] for task in ("key", "model", "later")]
        nowhere = rlm_command("--json", "go", RLM_BASE_URL="ftp://nowhere").lines[-1]
    assert "" == done.stderr
    *reported, never = [json.loads(line) for line in done.stdout.splitlines()]
    assert nowhere == {**never, "ts": nowhere["ts"]}, "there is no session"
    for (name, code, _), streamed, ran in zip(kinds.values(), reported[::2], reported[1::2], strict=True):
        kind, words, folder, prompt, last = streamed
        assert (kind, prompt, folder) == (name, 100, last["session_dir"])
        assert (last["type"], last["exit_code"], last["error"]) == ("result", code, words)
        assert [name, words, True, 100] == ran
    same = ("type", "status", "stop_reason", "answer", "usage", "turns", "agents", "agent", "error", "exit_code")
    for (*_, last), command in zip(reported[::2], commands, strict=False):
        assert last.keys() == command.keys()
        assert {name: last[name] for name in same} == {name: command[name] for name in same}


def test_the_package_is_callable_and_all_of_its_names_exist(rlm: Make) -> None:
    program = (
        "import asyncio, rlm as package\nfrom rlm import *\nfrom rlm import rlm\n"
        "assert rlm is package\nassert all(getattr(rlm, name) for name in dir(rlm))\n"
        "print(asyncio.run(rlm('go', tools=())))"
    )
    with Scripted(text("done")) as server:
        done = python(rlm(server), program)
    assert ("done\n", "") == (done.stdout, done.stderr)


def test_importing_rlm_imports_nothing_heavy(alone: Rlm) -> None:
    program = (
        "import sys, rlm\nrlm.run\n"
        "print([name for name in ('openai', 'IPython', 'zmq', 'rich', 'pydantic', 'jupyter_client') if name in sys.modules])"
    )
    assert "[]\n" == python(alone, program).stdout
