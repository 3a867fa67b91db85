"""Writes turns.jsonl, the recording that `rlm --model replay:turns.jsonl` plays: the replies of a good model.

The cells are real and run each time. The texts are fixed, so they match only the log of make_file.py.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from make_file import lines
from rlm_testkit.recording import Json, turn, write

QUESTION = "What do readers complain about most, and how often? `context` is the log of our help desk."
PARTS = 8

_LOOK = """\
print(len(context), context.count("\\n"))
print(context[:300])
import re
print(len(re.findall(r" wrote: ", context)), "lines are in somebody's own words")"""

_FAN_OUT = f"""\
import json
from collections import Counter
size = len(context) // {PARTS} + 1
cuts = [0] + [context.index("\\n", i * size) + 1 for i in range(1, {PARTS})] + [len(context)]
parts = [context[a:b] for a, b in zip(cuts, cuts[1:])]
task = "Part {{}} of {{}} of a log is in `context`. Count its complaints by subject; answer with a JSON object alone."
results = await asyncio.gather(*(rlm.run(task.format(n + 1, len(parts)), context=part) for n, part in enumerate(parts)))
total = sum((Counter(json.loads(result.answer)) for result in results), Counter())
print(total.most_common())"""

_CHILD = """\
from collections import Counter
said = Counter(line.split(" wrote: ", 1)[1] for line in context.splitlines() if " wrote: " in line)
for text, times in said.most_common():
    print(times, text)"""

_TASK = "Part {} of {} of a log is in `context`. Count its complaints by subject; answer with a JSON object alone."

_WORDS = {"print": "printer", "freezing": "heating", "heat": "heating", "reminder": "reminder", "gate": "noise"}


def subject(line: str) -> str:
    """Return the subject of a complaint."""
    said = line.partition(" wrote: ")[2]
    return next(name for word, name in _WORDS.items() if word in said)


def counts() -> list[Counter[str]]:
    """Count the complaints of each part, with the same parts as in the root's cell."""
    text = "".join(lines())
    size = len(text) // PARTS + 1
    cuts = [0, *(text.index("\n", i * size) + 1 for i in range(1, PARTS)), len(text)]
    parts = (text[a:b].splitlines() for a, b in pairwise(cuts))
    return [Counter(subject(line) for line in part if " wrote: " in line) for part in parts]


def turns() -> list[Json]:
    """Return the whole recording."""
    found = counts()
    total = sum(found, Counter())
    (first, most), *others = total.most_common()
    rest = ", ".join(f"{name} {times}" for name, times in others)
    answer = f"Reminders that come late or not at all: {most} of {total.total()} complaints. Then {rest}."
    assert first == "reminder"
    told = [
        turn(QUESTION, "It is too long to read. First its size and form.", _LOOK),
        turn(QUESTION, "People's own words must be read, not matched: one sub-agent for each part.", _FAN_OUT),
        turn(QUESTION, answer),
    ]
    for number, part in enumerate(found, 1):
        task = _TASK.format(number, PARTS)
        told += [turn(task, "", _CHILD), turn(task, json.dumps(dict(part)))]
    return told


if __name__ == "__main__":
    write(Path(__file__).with_name("turns.jsonl"), turns())
