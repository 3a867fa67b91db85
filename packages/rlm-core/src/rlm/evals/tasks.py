"""Tasks with a known answer, and functions that score an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

import msgspec

from rlm.core.task import check_task
from rlm.errors import ConfigError
from rlm.text.json_lines import read_objects, read_typed, unique

Scoring = Literal["exact", "contains", "number", "set"]
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
_ARRAY = re.compile(r"\[.*\]", re.DOTALL)
_CLOSE = 1e-6  # relative error of a number that still counts as equal


class EvalTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task. `score` names how its answer is judged; without it the type of `expected` decides."""

    prompt: str
    expected: str | int | float | list[str | int | float]
    id: str | int | None = None
    context: str | None = None
    """The text that the question is about. A plain call gets it in its prompt, an agent as the variable `context`."""
    score: Scoring | None = None
    size: int | None = None
    """The length of the task, in any unit; scores are also reported by size."""

    @property
    def scoring(self) -> Scoring:
        """How the answer is judged."""
        if self.score is not None:
            return self.score
        if isinstance(self.expected, list):
            return "set"
        return "exact" if isinstance(self.expected, str) else "number"


def read_tasks(data: bytes, name: str) -> list[EvalTask]:
    """Read all tasks of a file of JSON lines. A task without an id gets the number of its line.

    Raises:
        ConfigError: a line is invalid; the message names it.
    """
    tasks = [_task(value, number, f"{name}, line {number}") for number, value in read_objects(data, name)]
    if not tasks:
        raise ConfigError(f"{name} contains no task.")
    unique((str(task.id), f"{name}, task {place}") for place, task in enumerate(tasks, 1))
    return tasks


def _task(value: dict[str, object], number: int, where: str) -> EvalTask:
    task = read_typed(value, EvalTask, where)
    fits = {"number": int | float, "set": list, "exact": str, "contains": str}[task.scoring]
    if not isinstance(task.expected, fits):
        raise ConfigError(f"{where}: `expected` cannot be used with the score {task.scoring!r}.")
    try:
        check_task(task.prompt)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return msgspec.structs.replace(task, id=number if task.id is None else task.id)


def score(task: EvalTask, answer: str) -> float:
    """Return a score from 0 to 1."""
    match task.scoring, task.expected:
        case "set", list(expected):
            return _overlap({_plain(str(each)) for each in expected}, {_plain(each) for each in _items(answer)})
        case "number", int() | float() as number:
            return float(_is_number(answer, number))
        case "contains", expected:
            return float(_plain(str(expected)) in _plain(answer))
        case _, expected:
            return float(_plain(answer) == _plain(str(expected)))


def _plain(text: str) -> str:
    """Remove differences that do not matter: case, blanks, quotes and a final full stop."""
    return " ".join(text.casefold().split()).strip("\"'`*. ")


def _is_number(answer: str, expected: float) -> bool:
    """Whether the last number in the answer is the expected one."""
    found = _NUMBER.findall(answer)
    return bool(found) and abs(float(found[-1].replace(",", "")) - expected) <= _CLOSE * max(1.0, abs(expected))


def _items(answer: str) -> list[str]:
    """The items of a JSON array, or else the lines, or else the parts between commas."""
    if array := _ARRAY.search(answer):
        with suppress(ValueError):
            return [str(each) for each in json.loads(array[0])]
    lines = [line.strip(" \t-*•") for line in answer.splitlines() if line.strip()]
    return lines if len(lines) > 1 else [each for line in lines for each in line.split(",") if each.strip()]


def _overlap(expected: Iterable[str], got: Iterable[str]) -> float:
    """The F1 score: the harmonic mean of recall and precision."""
    wanted, found = set(expected) - {""}, set(got) - {""}
    if not wanted and not found:
        return 1.0
    return 2 * len(wanted & found) / (len(wanted) + len(found))
