"""The cost of reading big sessions, compared with reading the same bytes with `json.loads`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import big_sessions, runs
from bench.harness import Bench
from bench.measures import RLM, Measure, Sample, Scenario

FLOOR = "json.loads of the same files"

READ = """
import json, sys
from pathlib import Path
for file in Path(sys.argv[1]).rglob("*.json*"):
    for line in file.open("rb"):
        json.loads(line)
"""

PEAK = """
import re, sys
from pathlib import Path
from rlm.cli.main import run
run(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
"""Linux: the maximum memory of the process since its start, as the system counts it."""

Make = Callable[[Path], object]


def scenarios(quick: bool) -> list[Scenario]:
    size = 10 if quick else 100
    turns = partial(big_sessions.write, "turns", size=5_000)
    megabytes = partial(big_sessions.write, "megabytes", size=size)
    many = partial(big_sessions.write_many, size=3_000)
    return [
        _timed("show-5000", "`rlm show` of 5,000 turns", 2, turns, "show", "0" * 12),
        _timed("ls-3000", "`rlm ls` of 3,000 sessions", 0.5, many, "ls"),
        Scenario(
            "page-memory",
            {"peak": Measure(f"`rlm export` of {size} MB as a page, memory", "MiB", 300)},
            {RLM: partial(_peak, megabytes)},
            full=1,
            quick=1,
        ),
        Scenario(
            "signatures",
            {"signed": Measure("1,000 records of a journal are signed, the processor's time", "ms")},
            {RLM: lambda bench: runs.figures(bench, "signing")},
            full=3,
            quick=1,
        ),
    ]


def _timed(name: str, what: str, goal: float, make: Make, *words: str) -> Scenario:
    rlm, floor = partial(_duration, make, words), partial(_read, make)
    return Scenario(name, {"wall": Measure(what, "s", goal)}, {RLM: rlm, FLOOR: floor}, full=5, quick=2)


@contextmanager
def _home(make: Make) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        make(Path(home))
        yield Path(home)


def _duration(make: Make, words: tuple[str, ...], bench: Bench) -> Sample:
    with _home(make) as home:
        return {"wall": bench.run([str(bench.rlm), *words, "--home", str(home)]).wall}


def _read(make: Make, bench: Bench) -> Sample:
    with _home(make) as home:
        return {"wall": bench.run([sys.executable, "-c", READ, str(home)]).wall}


def _peak(make: Make, bench: Bench) -> Sample:
    with _home(make) as home:
        page = str(home / "page.html")
        ran = bench.run([sys.executable, "-c", PEAK, "export", "0" * 12, "--home", str(home), "-o", page])
    return {"peak": int(ran.stdout.splitlines()[-1]) / 1024}
