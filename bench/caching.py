"""A provider with a prefix cache: how much of a fan-out is cached, and the effect of an earlier start of some
agents.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from rlm_testkit.scripted import Answer, Request, call

from bench import runs
from bench.harness import Bench
from bench.measures import RLM, Measure, Sample, Scenario

CHILDREN = 32
SHARED = 32_000
"""Characters of the prompt that all agents share."""
BLOCK = 256
"""Characters per cache block, 64 tokens."""
RATE = 20_000
"""Characters of an uncached prompt that are read per second."""
SECONDS = 1.0
"""Seconds for the reply."""


def scenarios() -> list[Scenario]:
    return [
        _scenario("like-root", "with the root's tools", "", serial=False),
        _scenario("unlike-root", "with other tools than the root", ", tools=['ipython']", serial=False),
        _scenario("one-gpu", "with other tools, prompts are read one by one", ", tools=['ipython']", serial=True),
    ]


def _scenario(name: str, label: str, options: str, *, serial: bool) -> Scenario:
    return Scenario(
        f"cache-{name}",
        {
            "wall": Measure(f"{CHILDREN} children {label}, a model of {SECONDS:g} s, two calls each", "s"),
            "missed": Measure("of the characters of their prompts, % that are not cached", ""),
        },
        {
            RLM: partial(_run, options, serial, "off"),
            "--no-cache-wait": partial(_run, options, serial, "on"),
        },
        full=2,
        quick=1,
    )


class _Cache:
    """Answers after the time for the uncached part of the prompt. `serial`: one prompt at a time.

    Later requests can use what an earlier one has read.
    """

    def __init__(self, serial: bool, script: Callable[[Request], Answer]) -> None:
        self.read = self.missed = 0
        """Characters of prompts of sub-agents."""
        self._script = script
        self._serial = serial
        self._free = 0.0
        self._known: dict[int, float] = {}  # the time from which the prefix up to a block is cached

    def __call__(self, request: Request) -> Answer:
        now = time.monotonic()
        text = json.dumps([request.body.get("tools"), *request.messages])
        ends = [hash(text[:end]) for end in range(BLOCK, len(text), BLOCK)]
        cached = next((place for place, end in enumerate(ends) if self._known.get(end, now + 1) > now), len(ends))
        missed = len(text) - cached * BLOCK
        begins = max(now, self._free) if self._serial else now
        self._free = ready = begins + missed / RATE
        for end in ends[cached:]:
            self._known[end] = min(self._known.get(end, ready), ready)
        self.read += len(text) * (request.depth > 0)
        self.missed += missed * (request.depth > 0)
        return self._script(request).after(ready - now + SECONDS)


def _run(options: str, serial: bool, off: str, bench: Bench) -> Sample:
    names = f"(rlm.run(f'child {{i}}', context=i{options}) for i in range({CHILDREN}))"
    cell = f"import asyncio, rlm\nlen(await asyncio.gather(*{names}))"

    def script(request: Request) -> Answer:
        if request.depth:
            return runs.ONE_CELL(request)
        return call("ipython", code=cell) if request.turn == 0 else runs.done_if(str(CHILDREN), request)

    cache = _Cache(serial, script)
    settings: dict[str, str | int] = {
        "max_depth": 1,
        "no_cache_wait": off,
        "append_to_system_prompt": "Be careful with what you do. " * (SHARED // 29),
    }
    wall = runs.rlm(bench, cache, settings).ran.wall
    return {"wall": wall, "missed": 100 * cache.missed / cache.read}
