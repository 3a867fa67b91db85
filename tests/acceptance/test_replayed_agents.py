"""docs/recursion.md: no finished work is paid for twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rlm_testkit.cli import Json, Rlm, Session
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, text
from rlm_testkit.waiting import until

Make = Callable[[Scripted], Rlm]

FANOUT = """
import asyncio, json
from dataclasses import dataclass
@dataclass
class Point:
    x: int
async def tried(call):
    try:
        return await call
    except rlm.AgentError as error:
        return error
calls = [
    rlm.run("plain"), rlm.run("equal"), rlm.run("equal"), rlm.run("plain", max_turns=7), rlm.run("typed", schema=Point),
    rlm.run("pickled"), rlm.run("json"), rlm.run("text"), rlm.run("data", context={"p": Point(2), "s": {"x", "y", "z"}}),
    rlm.run("data", context=lambda n: n + 1), rlm.run("writes"), rlm.run("patches", isolation="worktree"), rlm.run("fails"), rlm.run("parent"),
    rlm.llm("ask"), rlm.llm("ask"), rlm.llm("count", schema={"type": "integer"}), rlm.llm("refused"),
    rlm.run("hangs"), rlm.llm("ask hangs"),
]
results = await asyncio.gather(*map(tried, calls))
for r in results:
    if isinstance(r, rlm.RunResult):
        print(r.answer, repr(r.value), r.ok, r.turns, r.usage.completion, r.replayed, *r.patch.splitlines()[-1:])
    else:
        print(repr(r))
"""
CHILD_CELLS = {
    "pickled": ["rlm.answer((1, {2}))"],
    "json": ["rlm.answer({'a': [1]})"],
    "text": ["rlm.answer('[1]')"],
    "writes": ["open('made.txt', 'w').write('x'); import os; os.mkdir('folder')", "!echo > by-command.txt"],
    "patches": ["open('in-the-copy.txt', 'w').write('made\\n')", "rlm.answer({3})"],
    "parent": ["print((await asyncio.gather(rlm.run('grandchild'), rlm.run('second hangs')))[0].answer)"],
}


class Provider:
    """Tasks that hang do so until the first run is gone."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.hanging = True
        self.cells = [FANOUT]

    def __call__(self, request: Request) -> Answer:
        if not request.depth:
            turn = request.turn
            return call("ipython", code=self.cells[turn]) if turn < len(self.cells) else text("end")
        task = request.task
        self.count[task] += 1
        if task.endswith("hangs") and self.hanging:
            return text("never").after(600)
        if task == "refused" or (task == "fails" and self.hanging):
            return error(400, "no such thing")
        if task == "count":
            return text("three" if request.turn == 0 else "3")
        if task == "typed":
            return text('{"x": 1}')
        cells = CHILD_CELLS.get(task, [])
        return call("ipython", code=cells[request.turn]) if request.turn < len(cells) else text(f"did {task}")


def is_finished(folder: Path) -> bool:
    """The finished agents: all except those that hang, and the one that waits for such an agent."""
    if not (sessions := list(folder.glob(".rlm/sessions/[0-9a-f]*/messages.jsonl"))):
        return False
    (journal,) = sessions
    root = [line["type"] for line in map(json.loads, journal.read_text().splitlines(keepends=False)) if line]
    inner = [line for path in journal.parent.glob("sub-*/messages.jsonl") for line in path.read_text().splitlines()]
    return (
        root.count("agent_end") == 13 and root.count("model_call") == 4 and sum('"agent_end"' in x for x in inner) == 1
    )


def killed_run(run: Rlm) -> Session:
    """A run that was killed in the middle of its fan-out, and of a sub-agent's fan-out."""
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-mx"],
    ):
        subprocess.run(["git", *words], cwd=run.cwd, check=True)
    process: subprocess.Popen[bytes] = run.start("go", RLM_MAX_DEPTH="2")
    try:
        until(lambda: is_finished(run.cwd))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    (folder,) = run.cwd.glob(".rlm/sessions/[0-9a-f]*")
    return Session(folder)


def of_type(session: Session, kind: str) -> list[Json]:
    return [record for record in session.records if record["type"] == kind]


UNFINISHED = {"fails": 1, "refused": 1, "hangs": 1, "ask hangs": 1, "parent": 2, "second hangs": 1}
"""The requests of the resumed run: the task that failed, those that hung, and the one that waited for such a task."""
RESULTS = """\
did plain None True 1 10 True
did equal None True 1 10 True
did equal None True 1 10 True
did plain None True 1 10 True
{"x": 1} Point(x=1) True 1 10 True
tuple, 2 long, begins (1, {2}) (1, {2}) True 1 10 True
{"a": [1]} {'a': [1]} True 1 10 True
[1] '[1]' True 1 10 True
did data None True 1 10 True
did data None True 1 10 True
did writes None True 3 30 True
set, 1 long, begins {3} {3} True 2 20 True +made
did fails None True 1 10 False
did parent None True 2 30 False
'did ask'
'did ask'
3
AgentError('400 Bad Request: no such thing.')
did hangs None True 1 10 False
'did ask hangs'
[Replayed, not run: an earlier run made the same calls and recorded the results (sub-agents: 12, model calls: 3). \
Without its effects: the sub-agent 'writes' changed made.txt, folder and ran commands then, which was not done again. \
A call with another task runs normally.]"""
AGAIN = "r = await rlm.run('pickled'); print(r.value, r.replayed)"


def test_finished_work_is_not_paid_twice(rlm: Make) -> None:
    provider = Provider()
    with Scripted(provider) as server:
        run = rlm(server)
        session = killed_run(run)
        provider.hanging, provider.cells = False, [FANOUT, FANOUT]

        def requests_of(*words: str) -> tuple[Counter[str], str]:
            before = provider.count.copy()
            done = run("resume", *words)
            assert done.code == 0, done.err
            return provider.count - before, done.err

        # the cell runs again, and then the model makes the same call once more
        count, err = requests_of(session.folder.name, "--fork", "--replay")
        print(err)
        assert count == UNFINISHED | {"refused": 2}
        assert err.count("replayed, not run again") == 12 + 1 + 15

        count, err = requests_of(session.folder.name)
        assert count == UNFINISHED
        assert session.results[-1] == RESULTS
        assert "writes; its effects were not repeated: it changed made.txt, folder and ran commands" in err
        replayed = of_type(session, "replayed")
        assert [record["prompt"] for record in replayed if record.get("changed")] == ["writes"]
        assert len(replayed) == 12 + 3

        # the model has seen the result, so its new calls must really run
        pickles = list(session.folder.glob("sub-*/answer.pickle"))
        (patch,) = session.folder.glob("sub-*/changes.patch")
        pickled = next(path for path in pickles if path.parent != patch.parent)
        for path in (pickled, patch):
            path.write_bytes(b"not what was recorded")
        provider.cells += ["", AGAIN]
        count, _ = requests_of(session.folder.name, "--replay", "once more")
        assert count == {"refused": 2, "pickled": 3, "patches": 4, "ask hangs": 1}, (
            "the call that was cut off has no record"
        )
        assert session.results[-1] == "(1, {2}) False\n"

        count, err = requests_of(session.folder.name, "--replay", "--rerun-agents", "and again")
        assert count["plain"] == 4
        assert "replayed" not in err
