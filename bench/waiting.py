"""Sub-agents whose model takes seconds, as real models do: the important number is how many of them wait at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from rlm_testkit.scripted import Answer, Request, Script, Scripted, error

from bench import runs
from bench.harness import Bench, RunFailedError
from bench.measures import RLM, Measure, Sample, Scenario

CHILDREN, MANY = 40, 200
CALLS = 2
"""Calls per child: one for its cell, one for its answer."""
AT_ONCE = 32
"""The default of RLM_MAX_CONCURRENT_AGENTS."""
ALLOWED = 8
"""Maximum number of concurrent requests of the server with a limit."""


def scenarios(quick: bool) -> list[Scenario]:
    """The floor `ideal` is a client that makes the same requests and knows the best number of concurrent ones."""
    seconds = 0.5 if quick else 2.0
    many = MANY // 2 if quick else MANY
    return [
        _slow(CHILDREN, AT_ONCE, seconds, 1.4),
        _slow(CHILDREN, CHILDREN, seconds, 1.4),
        _slow(many, AT_ONCE, seconds, 1.4),
        Scenario(
            "waiting-limited",
            {
                "wall": _measure(
                    f"{CHILDREN} children, the server takes {ALLOWED} at once", CHILDREN, ALLOWED, seconds, 1.3
                )
            },
            {
                RLM: lambda bench: _by_rlm(CHILDREN, _Limited(seconds), bench),
                f"knows the {ALLOWED}": partial(_requests_only, CHILDREN, ALLOWED, seconds),
            },
            full=2,
            quick=1,
        ),
    ]


def _slow(children: int, at_once: int, seconds: float, factor: float) -> Scenario:
    label = "by default" if at_once == AT_ONCE else "all at once"
    settings = {} if at_once == AT_ONCE else {"max_concurrent_agents": at_once + 1}
    return Scenario(
        f"waiting-{children}" + ("" if settings == {} else "-at-once"),
        {"wall": _measure(f"{children} children, {label}", children, at_once, seconds, factor)},
        {
            RLM: lambda bench: _by_rlm(children, partial(_after, seconds), bench, **settings),
            "ideal": partial(_requests_only, children, at_once, seconds),
        },
        full=2,
        quick=1,
    )


def _measure(name: str, children: int, at_once: int, seconds: float, factor: float) -> Measure:
    """The goal is relative to the ideal: whole children in waves, each with all its calls."""
    ideal = -(-children // at_once) * CALLS * seconds
    return Measure(f"{name}, a model of {seconds:g} s, {CALLS} calls each", "s", factor * ideal)


def _after(seconds: float, request: Request) -> Answer:
    return runs.ONE_CELL(request).after(seconds)


class _Limited:
    """Refuses a request at once, without a Retry-After, while the maximum number is in flight, as a gateway does."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: list[float] = []

    def __call__(self, request: Request) -> Answer:
        now = time.monotonic()
        self._ends = [end for end in self._ends if end > now]
        if len(self._ends) >= ALLOWED:
            return error(429, "Too many requests at once.")
        self._ends.append(now + self._seconds)
        return _after(self._seconds, request)


def _by_rlm(children: int, child: Script, bench: Bench, **settings: int) -> Sample:
    return {"wall": runs.rlm(bench, runs.fan(children, child), {"max_depth": 1, **settings}).ran.wall}


def _requests_only(children: int, at_once: int, seconds: float, bench: Bench) -> Sample:
    answer: Callable[[Request], Answer] = partial(_after, seconds)
    with Scripted(answer, strict=False) as server:
        ran = bench.run_floor("posts", server.url, children, CALLS, at_once)
    if ran.stdout.strip() != str(children):
        raise RunFailedError(f"{ran.stdout.strip()} of {children} children came to an end")
    return {"wall": ran.wall}
