"""The cost of one agent: start, turns, exit, memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from statistics import median

from rlm_testkit.scripted import Answer, Request, Script, always, call

from bench import runs
from bench.harness import Bench
from bench.measures import RLM, Measure, Sample, Scenario
from bench.runs import DONE, ONE, Served

SLOW_MODEL = 1.0
FIVE_MB = "print(('x' * 99 + '\\n') * 50_000, end='')"

Read = Callable[[Served], Sample]


def scenarios() -> list[Scenario]:
    return [_help(), _start(), _start_responses(), _second(), _fifty(), _many(), _memory(), _print(), _sandboxed()]


def _help() -> Scenario:
    return Scenario(
        "help",
        {"wall": Measure("`rlm --help`", "ms", 150)},
        {
            RLM: lambda bench: {"wall": bench.run_rlm("--help").wall},
            "`python -c pass`": lambda bench: {"wall": bench.run([sys.executable, "-c", "pass"]).wall},
        },
        full=15,
        quick=5,
    )


def _start() -> Scenario:
    def read(served: Served) -> Sample:
        return {"first": served.to_first, "exit": served.to_exit}

    return Scenario(
        "start",
        {
            "first": Measure("process start to first request", "ms", 450),
            "exit": Measure("that only reply to exit, the kernel still starting", "ms"),
        },
        _against(always(DONE), read, "std", "httpx", "post", "sdk", kernel=False),
        full=9,
        quick=3,
    )


def _start_responses() -> Scenario:
    return Scenario(
        "start-responses",
        {"first": Measure("process start to first request, by the Responses API", "ms", 450)},
        {
            RLM: lambda bench: {"first": runs.rlm(bench, always(DONE), {"api": "responses"}).to_first},
            "rlm, chat": lambda bench: {"first": runs.rlm(bench, always(DONE), {"api": "chat"}).to_first},
            "post": lambda bench: {"first": runs.floor(bench, "post", always(DONE), kernel=False).to_first},
        },
        full=9,
        quick=3,
    )


def _second() -> Scenario:
    def script(request: Request) -> Answer:
        return ONE.after(SLOW_MODEL) if request.turn == 0 else DONE

    def read(served: Served) -> Sample:
        return {"second": served.turns[0] - SLOW_MODEL}

    return Scenario(
        "second",
        {"second": Measure("first reply, after 1 s, to second request; one cell `1+1`", "ms", 15)},
        _against(script, read, "std", "post"),
        full=5,
        quick=2,
    )


def _fifty() -> Scenario:
    def read(served: Served) -> Sample:
        return {"turn": median(served.turns), "exit": served.to_exit}

    def round_trip(bench: Bench) -> Sample:
        return {"turn": runs.figures(bench, "kernel", 50)["round trip"]}

    return Scenario(
        "turns-50",
        {
            "turn": Measure("a turn with a cell `1+1`, p50 of 50", "ms", 8),
            "exit": Measure("last reply to exit", "ms", 50),
        },
        _against(runs.cells(50), read, "std", "httpx", "post", "sdk") | {"bare ipykernel": round_trip},
        full=5,
        quick=1,
    )


def _many() -> Scenario:
    def read(served: Served) -> Sample:
        return {"turn": median(served.turns[-50:]), "wall": served.ran.wall}

    return Scenario(
        "turns-400",
        {
            "turn": Measure("a turn, p50 of the last 50 of 400", "ms", 12),
            "wall": Measure("400 turns, whole run", "s", 6),
        },
        _against(runs.cells(400), read, "std", "post"),
        full=3,
        quick=1,
    )


def _memory() -> Scenario:
    def sampled(run: Callable[[Bench], Served], bench: Bench) -> Sample:
        with bench.memory() as memory:
            run(bench)
        return {"pss": memory.peak}

    script = runs.cells(50)
    return Scenario(
        "memory-50",
        {"pss": Measure("50 turns, memory of the tree (PSS)", "MiB", 100)},
        {
            RLM: partial(sampled, partial(runs.rlm, script=script)),
            "std": partial(sampled, partial(runs.floor, client="std", script=script)),
        },
        full=3,
        quick=1,
    )


def _print() -> Scenario:
    much = call("ipython", code=FIVE_MB)

    def script(request: Request) -> Answer:
        return (ONE, much, DONE)[request.turn]

    def read(served: Served) -> Sample:
        return {"next": served.turns[1]}

    return Scenario(
        "print-5mb",
        {"next": Measure("5 MB printed, to the next request", "ms", 120)},
        _against(script, read, "std", "post"),
        full=5,
        quick=1,
    )


def _sandboxed() -> Scenario:
    """Both run in one process and in turn, so that other load of the machine affects both."""
    seen: dict[str, float] = {}

    def sandboxed(bench: Bench) -> Sample:
        seen.update(runs.figures(bench, "warm", 10))
        added = {f"added {name}": seen[f"sandboxed {name}"] - seen[f"bare {name}"] for name in ("start", "cpu")}
        return {"start": seen["sandboxed start"], "cpu": seen["sandboxed cpu"], **added}

    def bare(_: Bench) -> Sample:
        return {"start": seen["bare start"], "cpu": seen["bare cpu"]}

    return Scenario(
        "sandboxed",
        {
            "start": Measure("a warm kernel in a sandbox, box included, to its first reply; least", "ms"),
            "added start": Measure("what the sandbox adds to that", "ms", 20),
            "cpu": Measure("the processor's time for one, from start to end", "ms"),
            "added cpu": Measure("what the sandbox adds to that", "ms", 20),
        },
        {RLM: sandboxed, "the same without": bare},
        full=3,
        quick=1,
    )


def _against(script: Script, read: Read, *clients: str, kernel: bool = True) -> dict[str, Callable[[Bench], Sample]]:
    """rlm, and the minimal agent with each of the clients."""
    floors = {
        client: partial(lambda bench, client: read(runs.floor(bench, client, script, kernel=kernel)), client=client)
        for client in clients
    }
    return {RLM: lambda bench: read(runs.rlm(bench, script)), **floors}
