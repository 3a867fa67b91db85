"""Writes turns.jsonl, the recording that `rlm --model replay:turns.jsonl` plays: the replies of a good model.

The cells are real and run each time; those of the root are the files in `cells`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from rlm_testkit.recording import Json, turn, write

HERE = Path(__file__).parent
QUESTION = "Show each way to work with sub-agents."
CELLS = (
    "typed",
    "first_completed",
    "race",
    "handle_begin",
    "handle_end",
    "pipeline",
    "map_reduce",
    "judge",
    "budget",
    "shared_frame",
    "shared_data",
    "worktrees",
    "answer",
)
FOREVER = "import asyncio\nawait asyncio.Event().wait()"
HALVE = """\
import asyncio
a, b = {0}, {1}
middle = (a + b) // 2
halves = [(a, middle), (middle, b)]
tasks = [f"Add up rows {{start}} to {{end}} of `context`." for start, end in halves]
sums = await asyncio.gather(*(rlm.run(task, context=context, schema=float) for task in tasks))
rlm.answer(sum(each.value for each in sums))"""
ADD = "rlm.answer(sum(context[{0}:{1}]))"


def turns() -> list[Json]:
    """Return the whole recording: the root, then its sub-agents and model calls."""
    told = [turn(QUESTION, "", (HERE / "cells" / f"{name}.py").read_text()) for name in CELLS]
    ishmael = "Which book begins like this? Call me Ishmael."
    told += [
        turn(ishmael, '{"title": "Moby-Dick"}'),
        turn(ishmael, '{"title": "Moby-Dick", "year": 1851}'),
        turn("Proofread the long chapter.", "", "import asyncio\nawait asyncio.sleep(0.2)"),
        turn("Proofread the long chapter.", "Two commas were missing."),
        turn("Solve 3x + 4 = 19 by algebra.", "x = 5"),
        turn("Solve 3x + 4 = 19 by trying numbers.", "x = 5"),
        turn("Find a divisor of 8051 from below.", "", FOREVER),
        turn("Find a divisor of 8051 by Fermat's method.", "83"),
    ]
    for note, found, iso in (
        ("Met on 3 May 2024, signed on 9 June.", "3 May 2024\n9 June 2024", "2024-05-03\n2024-06-09"),
        ("Paid on 1 July 2024.", "1 July 2024", "2024-07-01"),
    ):
        told.append(turn(f"Copy the dates out of this note, one a line: {note}", found))
        told.append(turn(f"Write these dates as YYYY-MM-DD, one a line: {found}", iso))
    count = "from collections import Counter\nrlm.answer(dict(Counter(context.split())))"
    told += [turn("Count the colours in `context`.", "", count) | {"agent": str(part)} for part in range(3)]
    names = ["dateparse", "whenever", "calends"]
    told += [turn(f"Name a library for parsing dates, idea {n}.", name) for n, name in enumerate(names, 1)]
    listed = "\n".join(f"{n}: {name}" for n, name in enumerate(names))
    told.append(turn(f"Which name is the clearest? Answer with its number.\n{listed}", "0"))
    told += [turn(f"Is 8051 a prime number? Opinion {n}.", "false") for n in (1, 2, 3)]
    for (a, b), code in (((0, 1000), HALVE), ((0, 500), ADD), ((500, 1000), ADD)):
        told.append(turn(f"Add up rows {a} to {b} of `context`.", "", code.format(a, b)))
    for a, b in pairwise(range(0, 13_000_001, 3_250_000)):
        task = f"Count the POST requests in bytes {a} to {b} of `context`."
        told.append(turn(task, "", f"rlm.answer(context[{a}:{b}].count(b'POST'))"))
    capitals = "text = open('hello.txt').read()\nopen('hello.txt', 'w').write(text.upper())"
    told.append(turn("Write the greeting in capitals.", "", capitals))
    told.append(turn("Write the greeting in capitals.", "Done."))
    told.append(turn("Add a file with the licence.", "", "open('LICENSE', 'w').write('MIT\\n')"))
    told.append(turn("Add a file with the licence.", "Done."))
    return told


if __name__ == "__main__":
    write(HERE / "turns.jsonl", turns())
