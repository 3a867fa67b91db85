"""`rlm batch`: many tasks, each done once, even if the batch is killed or interrupted."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlm_testkit.cli import Rlm, python
from rlm_testkit.git import git
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, text
from rlm_testkit.tmux import Terminal
from rlm_testkit.waiting import until

Json = dict[str, Any]
Make = Callable[[Scripted], Rlm]
KEY = "sk-batch-0123456789abcdef"


def write(folder: Path, *tasks: Json) -> None:
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))


def results(folder: Path) -> dict[tuple[Any, int], Json]:
    """The results by task and rollout; each must exist once."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    by_task = {(line["id"], line["rollout"]): line for line in lines}
    assert len(by_task) == len(lines)
    return by_task


LOOK_CELL = """
import os, pathlib
pathlib.Path("new.txt").write_text("made here")
print(os.environ["COLOUR"], context["of"], pathlib.Path("set-up").exists(), pathlib.Path.cwd().name)
"""


def everything(request: Request) -> Answer:
    cells = {
        "look": LOOK_CELL,
        "give": "import rlm\nrlm.answer([1, 2])",
        "never": "1",
    }
    task = request.task.partition(" ")[0]
    if task == "never":
        return call("ipython", code="1") if request.body.get("tool_choice") != "none" else text("so far")
    if task in cells and request.turn == 0:
        return call("ipython", code=cells[task])
    return text('{"n": 5}' if task == "typed" else f"{request.body['model']}: {request.last.strip()}")


TASKS: tuple[Json, ...] = (
    {
        "id": "a/1",
        "prompt": "look around",
        "context": {"of": "the task"},
        "env": {"COLOUR": "green"},
        "setup": "echo $COLOUR > set-up",
        "verify": "grep -q made new.txt && test -f tracked.txt && echo said; echo $COLOUR",
        "model": "other",
        "metadata": {"from": "here"},
    },
    {"id": 2, "prompt": "typed", "schema": {"type": "object", "required": ["n"]}, "tools": [], "verify": "exit 3"},
    {"id": "give", "prompt": "give", "system_prompt": "Be brief."},
    {"id": "limit", "prompt": "never", "max_turns": 2},
    {"id": "unready", "prompt": "unready", "setup": "echo not; echo ready; exit 7"},
)


def test_tasks_with_all_of_their_options(rlm: Make, tmp_path: Path) -> None:
    with Scripted(everything, strict=False) as server:
        command = rlm(server)
        project, out = command.cwd / "project", command.cwd / "out"
        project.mkdir()
        (project / "tracked.txt").write_text("x")
        git(project, "init", "-q")
        git(project, "add", ".")
        git(project, "commit", "-qm", "first")
        write(command.cwd, *TASKS)
        words = (
            "batch",
            "tasks.jsonl",
            "-o",
            "out",
            "-j",
            "3",
            "--rollouts",
            "2",
            "--workdir-from",
            "project",
            "--atif",
        )
        done = command(*words, "--max-turns", "9", RLM_API_KEY=KEY)
        assert done.code == 1, done.err
        by_task = results(out)
        summary = json.loads((out / "summary.json").read_text())
        requests = list(server.requests)
    assert sorted(by_task, key=str) == sorted(((task["id"], n) for task in TASKS for n in (0, 1)), key=str)

    looked = by_task["a/1", 1]
    assert looked["answer"].startswith("other: green the task True task-")
    assert (looked["status"], looked["reward"], looked["verify"]) == ("done", 1.0, "green")
    assert looked["metadata"] == {"from": "here"}
    assert (looked["turns"], looked["agents"], looked["usage"]["prompt_tokens"]) == (2, 1, 200)
    assert looked["duration"] > 0
    assert looked["cost"] is None
    session = Path(looked["session_dir"])
    assert session.parent == out / "sessions"
    assert json.loads((session / "meta.json").read_text())["metrics"]["turns"] == 2
    assert json.loads((session / "trajectory.json").read_text())["schema_version"].startswith("ATIF")

    typed = by_task[2, 0]
    assert (typed["value"], typed["reward"], typed["verify"]) == ({"n": 5}, 0.0, "exit code 3")
    assert by_task["give", 0]["value"] == [1, 2]
    assert (by_task["limit", 0]["status"], by_task["limit", 0]["stop_reason"]) == ("limit", "max_turns")
    assert (by_task["unready", 0]["status"], by_task["unready", 0]["error"]) == ("error", "setup: exit code 7: ready")

    assert not any(request.task == "unready" for request in requests)
    assert next(r for r in requests if r.task == "give").messages[0]["content"] == "Be brief."
    assert not any("tools" in request.body for request in requests if request.task == "typed")
    assert git(project, "status", "--porcelain") == ""
    assert sorted(path.name for path in (out / "work" / Path("limit-0")).iterdir()) == [".git", "tracked.txt"]

    assert (summary["rollouts"], summary["done"], summary["limit"], summary["error"]) == (10, 6, 2, 2)
    assert summary["pass_at_k"] == {"1": 0.4, "2": 0.4}  # `look` and `give`, of five tasks
    assert summary["reward"]["mean"] == 0.5
    assert set(summary["duration"]) >= {"p50", "p95", "p99"}
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["max_turns"] == "9"
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert done.out == ""
    assert "✗ unready: setup: exit code 7: ready" in done.err
    assert "6 of 10 done · 2 stopped by a limit · 2 failed" in done.err


REFUSED = """
import json, sys
from rlm.cli.main import run
for words in json.loads(sys.stdin.read()):
    print("code", run(["batch", *words]), file=sys.stderr)
"""


NOWHERE = ("--executor", "ray", "--address")


def test_invalid_arguments_create_nothing(alone: Rlm) -> None:
    write(alone.cwd, {"id": 1, "prompt": "a"})
    (alone.cwd / "twice.jsonl").write_text('{"id": 1, "prompt": "a"}\n' * 2)
    cases: tuple[tuple[tuple[str, ...], int, str], ...] = (
        (("tasks.jsonl",), 2, "Name a file of tasks and a folder"),
        (("tasks.jsonl", "-o", "out", "-j", "0"), 2, "--jobs='0' is not allowed"),
        (("tasks.jsonl", "-o", "out", "--shard", "0/2"), 2, "it takes k/n"),
        (("tasks.jsonl", "-o", "out", "--shard", "2/2"), 2, "--shard 2/2 has no task"),
        (("tasks.jsonl", "-o", "out", "--workdir-from", "none"), 2, "it takes a folder that exists"),
        (("tasks.jsonl", "-o", "out", "--map", "prompt=a", "--map", "b"), 2, "--map='b' is not allowed"),
        (("tasks.jsonl", "-o", "out", "--max-turns", "0"), 2, "--max-turns='0' is not allowed"),
        (("tasks.jsonl", "-o", "out", "--executor", "moon"), 2, "takes one of here, ray"),
        (("tasks.jsonl", "-o", "out", "--executor", "ray"), 2, "needs ray: install rlm with its extra `ray`"),
        (
            ("tasks.jsonl", "-o", "out", *NOWHERE, "127.0.0.1:1"),
            2,
            "127.0.0.1:1 cannot be reached: Connection refused.",
        ),
        (("tasks.jsonl", "-o", "out", *NOWHERE, "localhost:70000"), 2, "cannot be reached"),
        (("tasks.jsonl", "-o", "out", *NOWHERE, "ray://127.0.0.1:1"), 2, "Name the cluster itself: HOST:PORT"),
        (("tasks.jsonl", "-o", "tasks.jsonl/out"), 2, "cannot be written"),
        (("twice.jsonl", "-o", "out"), 2, "twice.jsonl, line 2: the id '1' occurs twice"),
        (("--resume", "out"), 2, "does not contain a batch"),
        (("--resume", "out", "tasks.jsonl"), 2, "--resume DIR accepts no other argument"),
        (("--resume", "out", "--rollouts", "2"), 2, "--rollouts cannot change when a batch is resumed"),
    )
    words = json.dumps([words for words, _, _ in cases])
    program = REFUSED.replace("sys.stdin.read()", repr(words))
    screen_text = python(alone, program, RLM_BASE_URL="http://127.0.0.1:1/v1").stderr.splitlines()
    lines = iter(screen_text)
    for words_, code, reason in cases:
        assert reason in next(lines), (words_, screen_text)
        assert next(lines) == f"code {code}"
    assert alone("batch", "tasks.jsonl", "-o", "out").code == 4
    assert not (alone.cwd / "out").exists()


class Slow:
    """Answers the first `quick` tasks at once, except the refused one; the others wait until `open` is set."""

    def __init__(self, quick: int, refused: str = "") -> None:
        self.asked: Counter[str] = Counter()
        self.refused = refused
        self.quick = quick
        self.open = False

    def __call__(self, request: Request) -> Answer:
        self.asked[request.task] += 1
        if request.task == self.refused and not self.open:
            return error(400, "not yet")
        if len(self.asked) <= self.quick or self.open:
            return text(f"answer {request.task}")
        return text(f"answer {request.task}").after(60)


def test_a_killed_batch_continues_and_does_nothing_twice(rlm: Make, tmp_path: Path) -> None:
    slow = Slow(quick=6, refused="task 0")
    with Scripted(slow, strict=False) as server:
        command = rlm(server)
        out = command.cwd / "out"
        # the last one is killed while it is verified: its agent has ended
        waits = "test -f go || { touch waiting; sleep 60; }"
        tasks = [{"id": n, "prompt": f"task {n}"} for n in range(12)]
        write(command.cwd, {"id": "v", "prompt": "task v", "verify": waits}, *tasks)
        with command.start("batch", "tasks.jsonl", "-o", "out", "-j", "4") as running:
            until(
                lambda: (
                    (command.cwd / "waiting").exists() and out.joinpath("results.jsonl").read_bytes().count(b"\n") == 5
                )
            )
            until(lambda: len(slow.asked) == 9)
            busy = command("batch", "--resume", "out")
            assert (busy.code, "Another process is running the batch" in busy.err) == (1, True)
            running.send_signal(signal.SIGKILL)
        with (out / "results.jsonl").open("ab") as file:
            file.write(b'{"id": 11, "rollout": 0, "status": "do')  # as a killed write leaves it
        assert b"not yet" in (out / "results.jsonl").read_bytes()
        before, slow.open = slow.asked.copy(), True
        (command.cwd / "go").touch()
        done = command("batch", "--resume", "out")
        assert done.code == 0, done.err
        by_task = results(out)
        assert len(by_task) == 13
        assert all(
            line["status"] == "done" and line["answer"] == f"answer task {id}" for (id, _), line in by_task.items()
        )
        assert by_task["v", 0]["reward"] == 1.0
        again = {task for task in slow.asked if slow.asked[task] > before[task] > 0}
        in_flight = set(list(before)[6:])
        assert again == in_flight | {"task 0"}  # the unfinished tasks, and the failed one
        assert slow.asked["task v"] == 1
        assert "8 of 13 done" not in done.err

        asked = slow.asked.copy()
        assert command("batch", "--resume", "out").code == 0
        assert command("batch", "tasks.jsonl", "-o", "out").code == 2
        assert slow.asked == asked
        assert results(out) == by_task


def test_ctrl_c_ends_a_batch_in_order_and_shows_how_to_continue(rlm: Make, tmp_path: Path) -> None:
    slow = Slow(quick=2)
    with Scripted(slow, strict=False) as server:
        command = rlm(server)
        write(command.cwd, *({"id": n, "prompt": f"task {n}"} for n in range(5)))
        terminal = Terminal(
            tmp_path / "tmux",
            (110, 20),
            [str(command.command), "batch", "tasks.jsonl", "-o", "out", "-j", "2", "-v"],
            command.cwd,
            command.env(),
        )
        try:
            screen = terminal.wait_for("2 of 5 done", "2 running", "40%", "200 in / 20 out")
            assert any(line.startswith(("  2  ", "  3  ")) for line in screen)
            terminal.press("C-c")
            screen = terminal.wait_for("over 130")
        finally:
            terminal.close()
        screen_text = "\n".join(screen)
        assert "2 of 5 done · 3 missing" in screen_text
        assert "rlm: interrupted. To continue: rlm batch --resume" in screen_text
        slow.open = True
        done = command("batch", "--resume", "out", "--json")
        assert done.code == 0
        assert sorted(line["id"] for line in done.lines) == [2, 3, 4]
        assert sorted(id for id, _ in results(command.cwd / "out")) == [0, 1, 2, 3, 4]


def test_failed_tasks_are_tried_again_and_a_batch_of_others_only_if_it_is_trusted(rlm: Make, tmp_path: Path) -> None:
    with Scripted(lambda request: text("an answer"), strict=False) as server:
        command = rlm(server)
        write(command.cwd, {"id": 1, "prompt": "a", "verify": "test -f good"}, {"id": 2, "prompt": "b"})
        tasks_before = (command.cwd / "tasks.jsonl").read_text()
        assert "would be replaced" in command("batch", "tasks.jsonl", "-o", ".", "--limit", "1").err
        assert (command.cwd / "tasks.jsonl").read_text() == tasks_before
        words = ("batch", "tasks.jsonl", "-o", "out", "--retry-failed")
        assert command(*words).code == 0
        assert results(command.cwd / "out")[1, 0]["reward"] == 0.0
        (command.cwd / "good").touch()
        assert command("batch", "--resume", f"../{command.cwd.name}/out").code == 0
        assert results(command.cwd / "out")[1, 0]["reward"] == 0.0
        assert command(*words).code == 0
        assert results(command.cwd / "out")[1, 0]["reward"] == 1.0
        assert [request.task for request in server.requests] in (["a", "b", "a"], ["b", "a", "a"])
        home = {"HOME": str(command.cwd), "XDG_STATE_HOME": f"{command.env()['HOME']}/.local/state"}
        assert command("batch", "tasks.jsonl", "--output=~/out", "--retry-failed", **home).code == 0

        # files that another user created or changed run nothing until they are trusted
        out = command.cwd / "out"
        tasks, results_ = out / "tasks.jsonl", out / "results.jsonl"
        results_.write_text("")
        own = tasks.read_text()
        tasks.write_text(own.replace("test -f good", "touch pwned"))
        state = {"XDG_STATE_HOME": str(tmp_path / "stranger")}
        for arguments, why in ((("--resume", "out"), {}), "tasks.jsonl is not the one"), ((words[1:], state), "no key"):
            refused = command("batch", *arguments[0], **arguments[1])
            assert (refused.code, why in refused.err, len(refused.err.splitlines())) == (2, True, 1), refused.err
        program = "import asyncio, rlm\nasyncio.run(anext(rlm.batch(['a', 'b'], output='out')))"
        assert "You did not create" in python(command, program, **command.environment).stderr
        assert len(server.requests) == 3
        trusted = command("batch", "--resume", "out", "--trust", "--sandbox-net")
        notice = trusted.err[: trusted.err.index("2 of 2 done")]
        for word in (f"works in {command.cwd}", "sandbox: off", "2 tasks", "touch pwned", "with your permissions"):
            assert word in notice
        assert (command.cwd / "pwned").exists(), "this is what the notice warned of"
        assert command("batch", "--resume", "out").code == 0
        config = out / "config.json"
        config.write_text(config.read_text().replace('"setup": null', '"setup": "touch pwned"'))
        assert "config.json is not signed by you" in command("batch", "--resume", "out").err
        config.unlink()
        assert "contains results of another batch" in command("batch", "tasks.jsonl", "-o", "out").err


PROGRAM = """
import asyncio, itertools, rlm

async def main():
    found = [result async for result in rlm.batch(["one", {"id": "x", "prompt": "two", "max_turns": 3}], concurrency=2)]
    print(sorted((str(r.id), r.answer, r.ok) for r in found))
    endless = (f"task {n}" for n in itertools.count())
    async for result in rlm.batch(endless, concurrency=3):
        print(result.ok)
        break
    async for result in rlm.batch(["a", "b"], output="out"):
        print(result.answer)
    async for result in rlm.batch(["a", "b"], output="out"):
        print(result.answer)
    for wrong in ({"prompt": ""}, 5):
        try:
            async for _ in rlm.batch([wrong]):
                print("never")
        except rlm.ConfigError as error:
            print(error)

asyncio.run(main())
"""


def test_a_program_gets_results_as_they_arrive(rlm: Make) -> None:
    with Scripted(lambda request: text("an answer"), strict=False) as server:
        command = rlm(server)
        done = python(command, PROGRAM, **command.environment)
        assert done.stderr == ""
        assert done.stdout.splitlines() == [
            "[('1', 'an answer', True), ('x', 'an answer', True)]",
            "True",
            *["an answer"] * 4,
            "task 1: The task is empty.",
            "task 1 is a int. It must be a prompt or a dict.",
        ]
        assert 5 <= len(server.requests) <= 2 + 4 + 2
    assert (command.cwd / "out" / "sessions").is_dir()


ESCAPES = """
import pathlib
for name in ("out/config.json", "out/tasks.jsonl", "out/results.jsonl"):
    try:
        pathlib.Path(name).write_text("mine")
    except OSError:
        print("denied")
pathlib.Path("written.sh").write_text("touch out/pwned $HOME/pwned; test ! -e out/pwned && $VIRTUAL_ENV/bin/python")
import subprocess
print(subprocess.getoutput("$VIRTUAL_ENV/bin/python"))
"""


def test_setup_and_verification_of_a_task_run_in_the_same_sandbox_as_its_agent(rlm: Make) -> None:
    """The agent cannot write to the batch, nor write a script that, when verified, reaches more than the agent.

    Nor less: the project's environment, which is in the home, can be used by the agent, setup and verification.
    """
    script = (call("ipython", code=ESCAPES), text("an answer"))
    with Scripted(lambda request: script[request.turn], strict=False) as server:
        command = rlm(server)
        python = Path(command.env()["HOME"]) / "environment/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text("#!/bin/sh\necho $COLOUR and its Python\n")
        python.chmod(0o755)
        setup = "$VIRTUAL_ENV/bin/python > set-up; touch out/pwned $HOME/pwned; true"
        task = {"id": 1, "prompt": "a", "env": {"COLOUR": "green"}, "setup": setup, "verify": "bash written.sh"}
        write(command.cwd, task)
        done = command("batch", "tasks.jsonl", "-o", "out", "--sandbox", VIRTUAL_ENV=str(python.parents[1]))
        assert done.code == 0, done.err
        by_task = results(command.cwd / "out")[1, 0]
        contents = [message["content"] for request in server.requests for message in request.messages]
    assert (by_task["reward"], by_task["verify"]) == (1.0, "green and its Python")
    assert any("denied\ndenied\ndenied\ngreen and its Python" in str(each) for each in contents)
    assert (command.cwd / "set-up").read_text() == "green and its Python\n"
    assert not list(command.cwd.parent.rglob("pwned"))
