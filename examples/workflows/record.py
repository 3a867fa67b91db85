"""Writes turns.jsonl, the recording that `rlm --model replay:turns.jsonl` plays: what a good model does with sub-agents.

The cells are real and run each time; those of the root are the files in `cells`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QUESTION = "Show each way to work with sub-agents."
CELLS = ("first_completed", "race", "pipeline", "map_reduce", "judge", "shared_frame", "worktrees")
ANSWER = "Seven ways, each in a cell above."
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


def turn(task: str, text: str, code: str = "") -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if code:
        function = {"name": "ipython", "arguments": json.dumps({"code": code})}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {"task": task, "message": message, "finish_reason": "tool_calls" if code else "stop"}


def turns() -> list[dict[str, Any]]:
    """The whole recording: the root, then its sub-agents and model calls."""
    told = [turn(QUESTION, "", (HERE / "cells" / f"{name}.py").read_text()) for name in CELLS]
    told.append(turn(QUESTION, ANSWER))
    told += [
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
    for (a, b), code in (((0, 1000), HALVE), ((0, 500), ADD), ((500, 1000), ADD)):
        told.append(turn(f"Add up rows {a} to {b} of `context`.", "", code.format(a, b)))
    capitals = "text = open('hello.txt').read()\nopen('hello.txt', 'w').write(text.upper())"
    told.append(turn("Write the greeting in capitals.", "", capitals))
    told.append(turn("Write the greeting in capitals.", "Done."))
    told.append(turn("Add a file with the licence.", "", "open('LICENSE', 'w').write('MIT\\n')"))
    told.append(turn("Add a file with the licence.", "Done."))
    return told


if __name__ == "__main__":
    (HERE / "turns.jsonl").write_text("".join(json.dumps(each) + "\n" for each in turns()))
