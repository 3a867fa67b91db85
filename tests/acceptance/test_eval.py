"""`rlm eval`: the same tasks by a plain call, an agent alone, and one with sub-agents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, text, usage

Make = Callable[[Scripted], Rlm]

LOOK = "import re\nfound = re.search(f'{name} is ([0-9]+)', context)[1]\nrlm.answer(found)"


def script(request: Request) -> Answer:
    """Plain calls guess, agents look; an agent with sub-agents asks one first. The second task fails for plain calls."""
    if request.depth:
        return text("nothing", usage=usage(1_000, 50))
    task = str(request.messages[-1]["content"]) if request.turn == 0 else request.task
    name = re.search("code of the (.*?)\\?", task)
    assert name is not None
    if not request.body.get("tools"):
        return error(400, "no") if "needle-60-2" in task or len(request.task) > 4_000 else text("about 7")
    cell = LOOK.replace("{name}", name[1])
    recursion = "You can call yourself" in str(request.messages[0])
    return call("ipython", code=("await rlm.run('look')\n" if recursion else "") + cell)


def test_arms_are_compared_on_the_same_tasks_and_it_says_that_recursion_lost(rlm: Make) -> None:
    with Scripted(script) as server:
        command = rlm(server)
        made = command("eval", "--make", "needle", "--size", "60,100", "--count", "1")
        (command.cwd / "t.jsonl").write_text(made.out)
        done = command("eval", "t.jsonl", "-o", "results.jsonl", "-j", "2")
        shown = command("eval", "t.jsonl", "--arms", "single", "--json", "-q")
    assert (0, 0, 0) == (made.code, done.code, shown.code), done.err + shown.err
    rows = [json.loads(line) for line in (command.cwd / "results.jsonl").read_text().splitlines()]
    assert {(row["id"], row["arm"]): (row["score"], row["agents"]) for row in rows} == {
        ("needle-60-1", "plain"): (0, 1),
        ("needle-60-1", "single"): (1, 1),
        ("needle-60-1", "rlm"): (1, 2),
        ("needle-100-1", "plain"): (0, 1),
        ("needle-100-1", "single"): (1, 1),
        ("needle-100-1", "rlm"): (1, 2),
    }
    assert "6 of 6" in done.err
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["arm", "score"],
        ["plain", "0.00"],
        ["single", "1.00"],
        ["rlm", "1.00"],
    ]
    assert ["100", "0.00", "1.00", "1.00"] in [line.split() for line in lines]
    assert "Recursion lost, for it gained nothing: 1.00 against 1.00 of single, at" in lines[-1]
    assert ["error", "done"] == sorted({row["stop"] for row in rows}, reverse=True), (
        "one of the plain calls was refused"
    )
    assert "400 Bad Request: no" in next(row["error"] for row in rows if row["stop"] == "error")
    *results, last = shown.lines
    assert (["result", "result"], "summary") == ([each["type"] for each in results], last["type"])
    assert (last["arms"]["single"]["score"], last["verdict"], shown.err) == (1, [], "")
    assert not list(command.cwd.glob(".rlm/sessions/*/sub-*/sub-*")), "a level of sub-agents, where none is set"


def test_what_cannot_be_compared_is_refused_before_anything_runs(rlm: Make) -> None:
    with Scripted() as server:
        command = rlm(server)
        (command.cwd / "t.jsonl").write_text('{"prompt": "?", "expected": 1}\n{"prompt": "?"}\n')
        for words, said in (
            (("t.jsonl",), "t.jsonl, line 2: Object missing required field `expected`"),
            (("none.jsonl",), "none.jsonl"),
            ((), "Name a file of tasks"),
            (("t.jsonl", "--arms", "plain,best"), "--arms='best' is not allowed"),
            (("t.jsonl", "--make", "pairs"), "--make writes tasks to stdout"),
            (("--make", "pairs", "--size", "ten"), "--size='ten' is not allowed"),
            (("--make", "pair"), "pairs"),
        ):
            done = command("eval", *words)
            assert (done.code != 0, done.out, said in done.err) == (True, "", True), (words, done.err)
    assert server.requests == []
