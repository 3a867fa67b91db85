"""Synthetic tasks of any size, in three published forms: a needle, an aggregation, pairs.

The work grows differently with the size n (lines): a needle depends on one line, an aggregation on all lines, pairs on
all pairs of lines. The same seed gives the same tasks. Sources: https://arxiv.org/abs/2404.06654 (needles),
https://arxiv.org/abs/2511.02817 (aggregation over records), https://arxiv.org/abs/2512.24601 (pairs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from random import Random

from rlm.evals.tasks import EvalTask

_WORDS = (
    *(
        "amber",
        "basin",
        "cedar",
        "delta",
        "ember",
        "fable",
        "garden",
        "harbor",
        "island",
        "jungle",
        "kernel",
        "lantern",
    ),
    *("meadow", "nectar", "orchard", "pebble", "quartz", "river", "saddle", "timber", "umber", "valley", "willow"),
)
_LABELS = ("animal", "city", "colour", "food", "number", "tool")
_PER_USER = 8
"""Approximate number of records of a user."""


def needle(size: int, dice: Random) -> EvalTask:
    """One line of `size` holds the answer; some others say nearly the same."""
    lines = [
        f"The {dice.choice(_WORDS)} of the {dice.choice(_WORDS)} has seen {dice.randrange(2, 100)} winters."
        for _ in range(size)
    ]
    names = dice.sample([f"{one} {two}" for one, two in combinations(_WORDS, 2)], min(6, size))
    places = dice.sample(range(size), len(names))
    codes = {name: dice.randrange(100_000, 1_000_000) for name in names}
    for place, (name, code) in zip(places, codes.items(), strict=True):
        lines[place] = f"The code of the {name} is {code}."
    prompt = f"What is the code of the {names[0]}? Answer with the number alone."
    return EvalTask(prompt=prompt, expected=codes[names[0]], context="\n".join(lines), size=size)


def aggregation(size: int, dice: Random) -> EvalTask:
    """The agent must read all `size` records and count the matching ones."""
    users, labels = _records(size, dice)
    user, label = dice.choice(users), dice.choice(_LABELS)
    count = sum(each == (user, label) for each in zip(users, labels, strict=True))
    prompt = (
        f"The data has one record a line: number, user, label. How many records of user {user} have the label {label}? "
        "Answer with the number alone."
    )
    return EvalTask(prompt=prompt, expected=count, context=_table(users, labels), size=size)


def pairs(size: int, dice: Random) -> EvalTask:
    """The agent must compare all pairs of users."""
    users, labels = _records(size, dice)
    one, two = dice.sample(_LABELS, 2)
    of_one = {user for user, label in zip(users, labels, strict=True) if label == one}
    of_two = {user for user, label in zip(users, labels, strict=True) if label == two}
    names = sorted(set(users), key=lambda name: int(name[1:]))
    found = [
        f"{a}-{b}" for a, b in combinations(names, 2) if (a in of_one and b in of_two) or (a in of_two and b in of_one)
    ]
    prompt = (
        "The data has one record a line: number, user, label. List all pairs of different users of whom one has at "
        f"least one record with the label {one} and the other at least one with the label {two}. Write one pair a "
        "line as u1-u2, the lower number first, and nothing else."
    )
    return EvalTask(prompt=prompt, expected=list(found), context=_table(users, labels), size=size)


FORMS: dict[str, Callable[[int, Random], EvalTask]] = {"needle": needle, "aggregation": aggregation, "pairs": pairs}


def generate(form: str, sizes: list[int], count: int, seed: int) -> Iterator[EvalTask]:
    """Yield `count` tasks of each size."""
    for size in sizes:
        for number in range(1, count + 1):
            task = FORMS[form](size, Random(f"{form} {size} {number} {seed}"))  # noqa: S311 - made-up data
            yield EvalTask(
                id=f"{form}-{size}-{number}",
                prompt=task.prompt,
                expected=task.expected,
                context=task.context,
                size=task.size,
            )


def _records(size: int, dice: Random) -> tuple[list[str], list[str]]:
    users = [f"u{dice.randrange(1, max(3, size // _PER_USER + 1))}" for _ in range(size)]
    return users, [dice.choice(_LABELS) for _ in range(size)]


def _table(users: list[str], labels: list[str]) -> str:
    rows = enumerate(zip(users, labels, strict=True), 1)
    return "\n".join(f"{number} | {user} | {label}" for number, (user, label) in rows)
