"""`rlm eval`: the same tasks by a plain call, by an agent alone, and by an agent with sub-agents."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rlm_testkit.cli import Json, Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, text, usage
from rlm_testkit.waiting import until

Make = Callable[[Scripted], Rlm]

LOOK = "import re\nfound = re.search(f'{name} is ([0-9]+)', context)[1]\nrlm.answer(found)"


class Provider:
    """Plain calls guess, agents look at the data, and an agent with sub-agents first asks one. Longer plain prompts are
    refused.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.hanging = {"rlm 60", "single 100"}

    def __call__(self, request: Request) -> Answer:
        if request.depth:
            return text("nothing", usage=usage(1_000, 50))
        arm = "rlm" if "You can call yourself" in str(request.messages[0]) else "single"
        name = re.search("code of the (.*?)\\?", request.task)
        assert name is not None
        if not request.body.get("tools"):
            arm = "plain"
        run = f"{arm} {60 if name[1] in self.short else 100}"
        self.asked[run] += 1
        if run in self.hanging:
            return text("never").after(600)
        if arm == "plain":
            return error(400, "no") if len(request.task) > 4_000 else text("about 7")
        cell = LOOK.replace("{name}", name[1])
        return call("ipython", code=("await rlm.run('look')\n" if arm == "rlm" else "") + cell)

    short = ""
    """The task with the shorter data."""


def lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_variants_are_compared_on_the_same_tasks_and_a_kill_loses_no_finished_task(rlm: Make) -> None:
    provider = Provider()
    with Scripted(provider) as server:
        command = rlm(server)
        generated = command("eval", "--make", "needle", "--size", "60,100", "--count", "1")
        (command.cwd / "t.jsonl").write_text(generated.out)
        provider.short = generated.lines[0]["prompt"]
        out = command.cwd / "out"
        with command.start("eval", "t.jsonl", "-o", "out", "-j", "2") as running:
            until(lambda: len(lines(out / "results.jsonl")) == 3 and provider.hanging <= provider.asked.keys())
            running.send_signal(signal.SIGKILL)
        assert provider.asked.keys() == {"plain 60", "single 60", "plain 100", *provider.hanging}
        provider.hanging = set()
        done = command("eval", "--resume", "out")
        once = provider.asked.copy()
        again = command("eval", "--resume", "out", "--json", "-q")
        single = command("eval", "t.jsonl", "--arms", "single", "--json", "-q")
        refused = command("eval", "t.jsonl", "-o", "out")
    assert (0, 0, 0, 0, 2) == tuple(each.code for each in (generated, done, again, single, refused)), (
        done.err + single.err
    )
    assert once == {"plain 60": 1, "single 60": 1, "rlm 60": 2, "plain 100": 2, "single 100": 2, "rlm 100": 1}
    assert provider.asked - once == {"plain 100": 1, "single 60": 1, "single 100": 1}, (
        "the failed task, and another run"
    )
    assert "2 of 6 are done." in done.err
    assert "rlm eval --resume out" in refused.err
    rows = lines(out / "results.jsonl")
    assert {row["id"]: (row["reward"], row["agents"]) for row in rows} == {
        "needle-60-1 plain": (0, 1),
        "needle-60-1 single": (1, 1),
        "needle-60-1 rlm": (1, 2),
        "needle-100-1 plain": (0, 1),
        "needle-100-1 single": (1, 1),
        "needle-100-1 rlm": (1, 2),
    }
    assert "6 of 6" in done.err
    table = done.out.splitlines()
    assert [line.split()[:2] for line in table[:4]] == [
        ["arm", "score"],
        ["plain", "0.00"],
        ["single", "1.00"],
        ["rlm", "1.00"],
    ]
    assert ["100", "0.00", "1.00", "1.00"] in [line.split() for line in table]
    assert "Recursion lost, because it gained nothing: 1.00 against 1.00 of single, at" in table[-1]
    assert ["error", "done"] == sorted({row["stop_reason"] for row in rows}, reverse=True), "a plain call was refused"
    assert "400 Bad Request: no" in next(row["error"] for row in rows if row["status"] == "error")
    *results, last = again.lines
    assert [(each["id"], each["arm"], each["stop"]) for each in results] == [("needle-100-1", "plain", "error")]
    assert (last["type"], [numbers["tasks"] for numbers in last["arms"].values()]) == ("summary", [2, 2, 2])
    *results, last = single.lines
    assert (["result", "result"], "summary") == ([each["type"] for each in results], last["type"])
    assert (last["arms"]["single"]["score"], last["verdict"], single.err) == (1, [], "")
    (own,) = command.cwd.glob(".rlm/evals/t-*")
    assert len(lines(own / "results.jsonl")) == len(list(own.glob("sessions/*/meta.json"))) == 2
    assert not list(out.glob("sessions/*/sub-*/sub-*")), "one level of sub-agents by default"


def test_an_invalid_comparison_is_refused_before_anything_runs(rlm: Make) -> None:
    with Scripted() as server:
        command = rlm(server)
        (command.cwd / "t.jsonl").write_text('{"prompt": "?", "expected": 1}\n{"prompt": "?"}\n')
        (command.cwd / "tasks.jsonl").write_text('{"prompt": "?", "expected": 1}')
        for words, reason in (
            (("t.jsonl",), "t.jsonl, line 2: Object missing required field `expected`"),
            (("none.jsonl",), "none.jsonl"),
            ((), "Name a file of tasks"),
            (("t.jsonl", "--arms", "plain,best"), "--arms='best' is not allowed"),
            (("tasks.jsonl", "-o", "."), "tasks.jsonl exists already and would be replaced"),
            (("--resume", "."), "does not contain a batch"),
            (("--resume", ".", "t.jsonl"), "--resume DIR accepts no other argument"),
            (("t.jsonl", "--make", "pairs"), "--make writes tasks to stdout"),
            (("--make", "pairs", "--size", "ten"), "--size='ten' is not allowed"),
            (("--make", "pair"), "pairs"),
        ):
            done = command("eval", *words)
            assert (done.code != 0, done.out, reason in done.err) == (True, "", True), (words, done.err)
    assert server.requests == []
    assert {path.name for path in command.cwd.iterdir()} == {"t.jsonl", "tasks.jsonl"}
    assert (command.cwd / "tasks.jsonl").read_text() == '{"prompt": "?", "expected": 1}'
