"""The cost of a large `context` for many sub-agents, and of model calls from a cell.

The data is a numpy array if the kernels have numpy (`uv pip install numpy`), otherwise `bytes`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from rlm_testkit.scripted import Answer, Request, Scripted, call, text

from bench import processes, runs
from bench.harness import Bench
from bench.measures import RLM, Measure, Sample, Scenario

CHILDREN = 20
CALLS = 1_000
AT_ONCE = 64

MAKE = """
import asyncio
try:
    import numpy
    frame = numpy.ones({size} // 8)
except ImportError:
    frame = b"1" * {size}
"""
FAN = "r = await asyncio.gather(*(rlm.run(f'{{n}}'{context}) for n in range({count})))"
READ = "total = float(context.sum()) if hasattr(context, 'sum') else context.count(b'1'); print(total)"


def scenarios(quick: bool) -> list[Scenario]:
    size = 100_000_000 if quick else 1_000_000_000
    return [_shared(size), _calls()]


def _shared(size: int) -> Scenario:
    megabytes = f"{size // 1_000_000:,} MB"
    return Scenario(
        "shared-context",
        {
            "pss": Measure(f"{megabytes} to {CHILDREN} children that read all of it: growth of PSS", "MiB", 1240),
            "first": Measure(f"{megabytes} are written once: what the first child starts later than without", "s"),
            "start": Measure(f"{megabytes}: what each of the other children starts later than without", "ms", 100),
        },
        {RLM: partial(_share, size)},
        full=1,
        quick=1,
    )


def _share(size: int, bench: Bench) -> Sample:
    fan = _Fan(bench, size, ", context=frame")
    bare = _Fan(bench, size, "")
    for each in (bare, fan):
        runs.rlm(bench, each, {"max_depth": 1, "max_concurrent_agents": CHILDREN + 1, "no_cache_wait": "on"})
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
    began = time.perf_counter()
    answers = await asyncio.gather(*map(ask, range({calls})))
    print(time.perf_counter() - began, len(answers))
asyncio.run(main())
"""
"""The floor: the same requests by the SDK's own `post`, which rlm uses too."""


def _calls() -> Scenario:
    return Scenario(
        "model-calls",
        {"wall": Measure(f"{CALLS:,} calls of rlm.llm in a cell, {AT_ONCE} at once", "s")},
        {RLM: _by_rlm, "sdk post": _by_sdk},
        full=3,
        quick=1,
    )


def _by_rlm(bench: Bench) -> Sample:
    """Measured in the cell, whose output is in the second request. A first call opens the connection."""
    results: list[str] = []

    def script(request: Request) -> Answer:
        if request.depth:
            return text("answer")
        results.append(request.last)
        cells = ["await rlm.llm('warm')", LLM.format(calls=CALLS, at_once=AT_ONCE)]
        return call("ipython", code=cells[request.turn]) if request.turn < 2 else text("done")

    runs.rlm(bench, script)
    return {"wall": _seconds(results[-1])}


def _by_sdk(bench: Bench) -> Sample:
    with Scripted(lambda _: text("answer"), strict=False) as server:
        program = BARE.format(url=server.url, calls=CALLS, at_once=AT_ONCE)
        return {"wall": _seconds(bench.run([sys.executable, "-c", program]).stdout)}


def _seconds(printed: str) -> float:
    seconds, count = printed.split()[-2:]
    assert int(count) == CALLS
    return float(seconds)


class _Fan:
    """A script in which all children read their context before the first one ends; then memory is measured."""

    def __init__(self, bench: Bench, size: int, context: str) -> None:
        self._bench = bench
        self._cells = [MAKE.format(size=size), FAN.format(context=context, count=CHILDREN)]
        self._reads = bool(context)
        self._read = 0
        self.asked: list[float] = []
        self.before = self.most = self.replied = 0.0

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
            return call("ipython", code=READ if self._reads else "1")
        return self._ended()

    def _root(self, request: Request) -> Answer:
        if request.turn == 1:
            self.before, self.replied = self._memory(), request.at
        return call("ipython", code=self._cells[request.turn]) if request.turn < 2 else text("done")

    def _ended(self) -> Answer:
        self._read += 1
        if self._read == CHILDREN:
            self.most = self._memory()
        return replace(text("read"), gate=lambda _: self._read >= CHILDREN)

    def _memory(self) -> float:
        return sum(map(processes.pss, self._bench.tree()))
