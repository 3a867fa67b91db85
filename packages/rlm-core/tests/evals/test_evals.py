"""Tasks of an evaluation, their scores, the synthetic forms, and what the summary says about recursion."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
from rlm.errors import ConfigError
from rlm.evals.compare import Arm, EvalResult
from rlm.evals.forms import FORMS, generate
from rlm.evals.report import summary, table
from rlm.evals.tasks import EvalTask, read_tasks, score


@pytest.mark.parametrize(
    ("fields", "answer", "points"),
    [
        ({"expected": "Paris"}, " paris. ", 1),
        ({"expected": "Paris"}, "It is Paris", 0),
        ({"expected": "Paris", "score": "contains"}, "It is PARIS, of course", 1),
        ({"expected": 1234}, "There are 3 kinds: 1,234", 1),
        ({"expected": 1234}, "1234 of 5000", 0),
        ({"expected": 0.5}, "-> 5e-1", 1),
        ({"expected": 7}, "none", 0),
        ({"expected": ["a", "b"]}, '["B", "a"]', 1),
        ({"expected": ["a", "b"]}, "- a\n- c\n", 0.5),
        ({"expected": ["a", "b"]}, "a, b, c, d", 2 / 3),
        ({"expected": []}, "", 1),
        ({"expected": ["1-2", "3-4"]}, "", 0),
        ({"expected": [1, 2]}, "[1, 2]", 1),
    ],
)
def test_an_answer_is_judged_by_what_is_expected(fields: dict[str, Any], answer: str, points: float) -> None:
    assert score(EvalTask(prompt="?", **fields), answer) == pytest.approx(points)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b"", "t contains no task"),
        (b'{"prompt": "?", "expected": 1}\n{"prompt": "?"}', "t, line 2: Object missing required field `expected`"),
        (b'\n{"prompt": " ", "expected": 1}', "t, line 2: The task is empty"),
        (b'{"prompt": "?", "expectd": 1}', "t, line 1: there is no field 'expectd'. Did you mean expected"),
        (
            b'{"prompt": "?", "expected": 1, "score": "set"}',
            "t, line 1: `expected` cannot be used with the score 'set'",
        ),
        (b'{"prompt": "?", "expected": 1, "score": "f1"}', "t, line 1: score: Invalid enum value 'f1'"),
        (b'{"prompt": "?", "expected": 1, "id": "a"}\n' * 2, "t, task 2: the id 'a' occurs twice"),
        (
            b'{"prompt": "?", "expected": 1, "id": 2}\n{"prompt": "?", "expected": 1}',
            "t, task 2: the id '2' occurs twice",
        ),
        (b"{", "t, line 1: this is not JSON"),
    ],
)
def test_a_file_of_tasks_is_refused_with_the_number_of_the_line(lines: bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        read_tasks(lines, "t")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2, 300])
def test_a_generated_task_has_its_size_and_the_answer_that_its_data_say(form: str, size: int) -> None:
    tasks, again = (list(generate(form, [size], 3, 1)) for _ in range(2))
    assert tasks == again
    assert tasks[0] != tasks[1]
    assert tasks != list(generate(form, [size], 3, 2))
    for task in tasks:
        assert task.context is not None
        lines = task.context.split("\n")
        assert (len(lines), task.size, task.id) == (size, size, tasks[tasks.index(task)].id)
        assert task.expected == solved(form, task.prompt, lines)
    assert read_tasks(b'{"prompt": "?", "expected": 1}', "t")


def solved(form: str, prompt: str, lines: list[str]) -> object:
    """Solve the task in another way than the generator."""
    if form == "needle":
        name = prompt.split("code of the ")[1].split("?", maxsplit=1)[0]
        (line,) = [line for line in lines if f"the {name} is" in line]
        return int(line.split()[-1].rstrip("."))
    rows = [line.split(" | ")[1:] for line in lines]
    if form == "aggregation":
        user, label = prompt.split("records of user ")[1].split("?", maxsplit=1)[0].split(" have the label ")
        return rows.count([user, label])
    one, two = (part.split()[0].rstrip(".") for part in prompt.split("the label ")[1:])
    has = {user: {label for name, label in rows if name == user} for user, _ in rows}
    users = sorted(has, key=lambda name: int(name[1:]))
    return [
        f"{a}-{b}"
        for a, b in combinations(users, 2)
        if (one in has[a] and two in has[b]) or (two in has[a] and one in has[b])
    ]


def result(
    arm: Arm, id: str, points: float, cost: float | None = 1.0, stop: str = "done", size: int = 10
) -> EvalResult:
    return EvalResult(
        id=id, arm=arm, score=points, stop=stop, seconds=2.0, tokens=100, cost=cost, agents=1, size=size, answer="",
        error="", session="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("recursive", "cost", "reason"),
    [
        (1.0, 2.0, "Recursion won: 1.00 against 0.50 of single, at 2.0 times its cost."),
        (0.5, 2.0, "Recursion lost, because it gained nothing: 0.50 against 0.50 of single, at 2.0 times its cost."),
        (0.5, 1.0, "Recursion cost no more: 0.50 against 0.50 of single, at 1.0 times its cost."),
        (0.0, 3.0, "Recursion lost: 0.00 against 0.50 of single, at 3.0 times its cost."),
        (0.0, None, "Recursion lost: 0.00 against 0.50 of single, at 1.0 times its tokens."),
    ],
)
def test_the_summary_reports_where_recursion_lost(recursive: float, cost: float | None, reason: str) -> None:
    results = [result("plain", "a", 0), result("single", "a", 0.5), result("rlm", "a", recursive, cost)]
    assert summary(results, ["plain", "single", "rlm"])["verdict"][0] == reason


def test_the_summary_has_percentiles_scores_by_size_and_where_recursion_was_worse() -> None:
    results = [result("single", str(n), 1, cost=n / 100, size=10 * (n % 2 + 1)) for n in range(1, 21)]
    results += [
        result("rlm", str(n), float(n > 1), cost=n / 50, stop="error" if n == 1 else "done") for n in range(1, 21)
    ]
    report = summary(results, ["single", "rlm"])
    single, recursive = report["arms"]["single"], report["arms"]["rlm"]
    assert single["cost"] == {"p50": 0.1, "p95": 0.19, "total": 2.1}
    assert (recursive["score"], recursive["errors"], recursive["limits"]) == (0.95, 1, 0)
    assert report["by_size"] == {"10": {"single": 1.0, "rlm": 0.95}, "20": {"single": 1.0, "rlm": None}}
    assert report["verdict"][1:] == [
        "Task by task: better than single in 0, worse in 1 of 20 (worse: 1).",
        "Runs that failed have the score 0.",
    ]
    lines = table(report)
    assert lines[1].split() == ["single", "1.00", "$0.1000", "$0.1900", "2.0", "s", "2.0", "s", "1", "0", "0"]
    assert "20    1.00    –" in lines
    assert summary(results[:20], ["single"])["verdict"] == []
