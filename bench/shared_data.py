"""The cost of a large `context` for many sub-agents, and of model calls from a cell.

`shared-context` uses a numpy array if the kernels have numpy, otherwise `bytes`. `shared-frame` needs pandas and
pyarrow, `shared-table` needs pyarrow; without them they fail and name the command that installs them.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import partial

from rlm_testkit.scripted import Answer, Request, Scripted, call, text

from bench import processes, runs
from bench.harness import Bench, RunFailedError
from bench.measures import RLM, Measure, Sample, Scenario

CHILDREN = 20
CALLS = 1_000
AT_ONCE = 64

ARRAY = """
import asyncio
try:
    import numpy
    data = numpy.ones({size} // 8)
except ImportError:
    data = b"1" * {size}
"""
COLUMNS = """
import asyncio, numpy, pyarrow
rows = {size} // 52
number = numpy.arange(rows)
few = number % 1000
names = pyarrow.array([f"name number {{n}}" for n in range(1000)])
texts = names.take(pyarrow.array(few)).cast(pyarrow.large_string())
"""
FRAME = (
    COLUMNS
    + """
import pandas
day = (number % 86_400).astype("M8[s]")
kinds = pandas.Categorical.from_codes(few, names.to_pylist())
data = pandas.DataFrame({{"number": number, "half": number / 2, "odd": number % 2 == 1, "day": day, "kind": kinds}})
data["name"] = pandas.arrays.ArrowStringArray(texts)
del number, few, day, kinds, texts
"""
)
"""Integers, floats, booleans, dates, a category, and texts in Arrow's memory."""
TABLE = (
    COLUMNS
    + """
data = pyarrow.table({{"number": number, "half": number / 2, "name": texts, "few": few}})
del number, few, texts
"""
)
FAN = "r = await asyncio.gather(*(rlm.run(f'{{n}}'{context}) for n in range({count})))"
READ_ARRAY = "print(float(context.sum()) if hasattr(context, 'sum') else context.count(b'1'))"
READ_TABLE = """
def read(buffer):
    return len(memoryview(buffer).cast("B")[::512].tobytes())
def read_column(column):
    return [read(buffer) for chunk in column.chunks for buffer in chunk.buffers() if buffer]
{}
"""
READ_FRAME = READ_TABLE.format("""
print([read(context[name].to_numpy().view("u1")) for name in ("number", "half", "odd", "day")])
print(read(context["kind"].array.codes), read_column(context["name"].array.__arrow_array__()))
""")
READ_TABLE = READ_TABLE.format("print([read_column(column) for column in context.columns])")
"""It reads every page, and copies little."""


def scenarios(quick: bool) -> list[Scenario]:
    size = 100_000_000 if quick else 1_000_000_000
    return [
        _shared("shared-context", size, ARRAY, READ_ARRAY),
        _shared("shared-frame", size, FRAME, READ_FRAME, " of a pandas frame"),
        _shared("shared-table", size, TABLE, READ_TABLE, " of an Arrow table"),
        _calls(),
    ]


def _shared(name: str, size: int, make: str, read: str, of: str = "") -> Scenario:
    megabytes = f"{size // 1_000_000:,} MB{of}"
    return Scenario(
        name,
        {
            "pss": Measure(f"{megabytes} to {CHILDREN} children that read all of it: growth of PSS", "MiB", 1240),
            "first": Measure(f"{megabytes} are written once: what the first child starts later than without", "s"),
            "start": Measure(f"{megabytes}: what each of the other children starts later than without", "ms", 100),
        },
        {RLM: partial(share, make.format(size=size), read)},
        full=1,
        quick=1,
    )


def share(make: str, read: str, bench: Bench) -> Sample:
    """Run a cell that makes the data, and children that read it.

    Raises:
        RunFailedError: the data cannot be made. If a package is missing, the message is the command that installs it.
    """
    fan = _Fan(bench, make, read, ", context=data")
    bare = _Fan(bench, make, "1", "")
    for each in (bare, fan):
        runs.rlm(bench, each, {"max_depth": 1, "max_concurrent_agents": CHILDREN + 1, "no_cache_wait": "on"})
        if missing := re.search(r"No module named '(\w+)'", each.made):
            python = bench.rlm.resolve().with_name("python")
            raise RunFailedError(f"the kernels have no {missing[1]}: uv pip install --python {python} {missing[1]}")
        if len(each.asked) < CHILDREN:
            *_, reason = each.made.splitlines()
            raise RunFailedError(f"the data cannot be made: {reason}")
    return {
        "pss": fan.most - fan.before,
        "first": fan.first - bare.first,
        "start": (fan.rest - bare.rest) / (CHILDREN - 1),
    }


# ---- model calls

LLM = """
import time
began = time.perf_counter()
answers = await rlm.map(rlm.llm, [f"question {{n}}" for n in range({calls})], limit={at_once})
print(time.perf_counter() - began, len(answers))
"""
BARE = """
import asyncio, sys, time
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion
async def main():
    client, slots = AsyncOpenAI(base_url="{url}", api_key="x"), asyncio.Semaphore({at_once})
    async def ask(n):
        body = {{"model": "scripted", "messages": [{{"role": "user", "content": f"question {{n}}"}}]}}
        async with slots:
            return await client.post("/chat/completions", body=body, cast_to=ChatCompletion)
    await ask(0)
    began, used = time.perf_counter(), time.process_time()
    answers = await asyncio.gather(*map(ask, range({calls})))
    print(time.process_time() - used, time.perf_counter() - began, len(answers))
asyncio.run(main())
"""
"""The floor: the same requests by the SDK's own `post`, which rlm uses too."""


def _calls() -> Scenario:
    what = f"{CALLS:,} calls of rlm.llm in a cell, {AT_ONCE} at once"
    return Scenario(
        "model-calls",
        {"wall": Measure(what, "s"), "processor": Measure(f"{what}: processor time without the server", "s")},
        {RLM: _by_rlm, "sdk post": _by_sdk},
        full=3,
        quick=1,
    )


def _by_rlm(bench: Bench) -> Sample:
    """Measured in the cell, whose output is in the second request. A first call opens the connection."""
    results: list[str] = []
    used: list[float] = []

    def script(request: Request) -> Answer:
        if request.depth:
            return text("answer")
        results.append(request.last)
        used.append(sum(map(processes.processor_seconds, bench.tree())))
        cells = ["await rlm.llm('warm')", LLM.format(calls=CALLS, at_once=AT_ONCE)]
        return call("ipython", code=cells[request.turn]) if request.turn < 2 else text("done")

    runs.rlm(bench, script)
    return {"wall": _seconds(results[-1])[-1], "processor": used[2] - used[1]}


def _by_sdk(bench: Bench) -> Sample:
    with Scripted(lambda _: text("answer"), strict=False) as server:
        program = BARE.format(url=server.url, calls=CALLS, at_once=AT_ONCE)
        processor, wall = _seconds(bench.run([sys.executable, "-c", program]).stdout)[-2:]
        return {"wall": wall, "processor": processor}


def _seconds(printed: str) -> list[float]:
    """Return the times in the last line of what was printed."""
    *seconds, count = printed.strip().splitlines()[-1].split()
    assert int(count) == CALLS
    return [float(each) for each in seconds]


class _Fan:
    """A script in which all children read their context before the first one ends; then memory is measured."""

    def __init__(self, bench: Bench, make: str, read: str, context: str) -> None:
        self._bench = bench
        self._cells = [make, FAN.format(context=context, count=CHILDREN)]
        self._read_all = read
        self._read = 0
        self.asked: list[float] = []
        self.before = self.most = self.replied = 0.0
        self.made = ""
        """The result of the cell that makes the data."""

    @property
    def first(self) -> float:
        """Seconds from the reply with the cell to the first request of a child."""
        return self.asked[0] - self.replied

    @property
    def rest(self) -> float:
        """Seconds from the first request of a child to the last child's first request."""
        return self.asked[-1] - self.asked[0]

    def __call__(self, request: Request) -> Answer:
        if request.depth == 0:
            return self._root(request)
        if request.turn == 0:
            self.asked.append(request.at)
            return call("ipython", code=self._read_all)
        return self._ended()

    def _root(self, request: Request) -> Answer:
        if request.turn == 1:
            self.before, self.replied, self.made = self._memory(), request.at, request.last
            if "Error: " in self.made:
                return text("done")
        return call("ipython", code=self._cells[request.turn]) if request.turn < 2 else text("done")

    def _ended(self) -> Answer:
        self._read += 1
        if self._read == CHILDREN:
            self.most = self._memory()
        return replace(text("read"), gate=lambda _: self._read >= CHILDREN)

    def _memory(self) -> float:
        return sum(map(processes.pss, self._bench.tree()))
