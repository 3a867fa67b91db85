"""The cost of sub-agents: a whole fan-out, one more child, memory, descriptors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rlm_testkit.scripted import Answer, Request, Script, always, call

from bench import runs
from bench.harness import Bench, Ran
from bench.measures import RLM, Measure, Sample, Scenario
from bench.processes import descriptors
from bench.runs import DONE

MANY, FEW = 32, 8
"""Numbers of children in a fan-out, and in a smaller one to compute the cost of one more child."""

POSTS = """
import http.client, json
from concurrent.futures import ThreadPoolExecutor
def post(_):
    connection = http.client.HTTPConnection("127.0.0.1", {port})
    connection.request("POST", "/v1/chat/completions", json.dumps({{"messages": []}}), {{"X-RLM-Depth": "1"}})
    return connection.getresponse().read()
with ThreadPoolExecutor({count}) as pool:
    print(len(list(pool.map(post, range({count})))))
"""
"""The floor for children that run no cell: the same number of requests at once."""

Run = Callable[[Bench], Ran]
Contender = Callable[[Bench], Sample]


def scenarios(quick: bool) -> list[Scenario]:
    return [_children(), _by_default(), _plain(), _one_more(), _memory(), _thousand(100 if quick else 1000)]


def _children() -> Scenario:
    return Scenario(
        "children",
        {"wall": Measure(f"{MANY} children at once, one cell each, whole run", "s", 2.5)},
        {RLM: partial(_duration, _all_at_once(MANY))}
        | _forked_and_cold(lambda start: partial(_duration, _many_kernels(start, MANY))),
        full=5,
        quick=1,
    )


def _by_default() -> Scenario:
    """The default number of children at once."""
    return Scenario(
        "children-default",
        {"wall": Measure(f"{MANY} children, one cell each, as many at once as by default", "s", 2.5)},
        {
            RLM: lambda bench: _duration(partial(_rlm_run, runs.fan(MANY)), bench),
            "forked ipykernels": partial(_duration, _many_kernels("forked", MANY, 4)),
        },
        full=5,
        quick=1,
    )


def _plain() -> Scenario:
    return Scenario(
        "children-plain",
        {"wall": Measure(f"{MANY} children without a cell, whole run", "s", 1)},
        {
            RLM: partial(_duration, partial(_rlm_run, runs.fan(MANY, always(DONE)))),
            "std": partial(_duration, _requests_only),
        },
        full=5,
        quick=1,
    )


def _one_more() -> Scenario:
    def forks(bench: Bench) -> Sample:
        return {"wall": runs.figures(bench, "fork", 200)["fork"]}

    return Scenario(
        "child",
        {"wall": Measure(f"one more child with a cell: the slope from {FEW} to {MANY}", "ms", 60)},
        {RLM: partial(_slope, _all_at_once)}
        | _forked_and_cold(lambda start: partial(_slope, partial(_many_kernels, start)))
        | {"bare fork": forks},
        full=3,
        quick=1,
    )


def _memory() -> Scenario:
    return Scenario(
        "memory-children",
        {
            "pss": Measure(f"{MANY} children at once, memory of the tree (PSS)", "MiB", 700),
            "one": Measure("memory of one more child (PSS)", "MiB", 20),
        },
        {RLM: partial(_peak, _all_at_once), "forked ipykernels": partial(_peak, partial(_many_kernels, "forked"))},
        full=3,
        quick=1,
    )


def _thousand(count: int) -> Scenario:
    return Scenario(
        "children-1000",
        {
            "wall": Measure(f"{count:,} children, one cell each, one gather, whole run", "s", 60 * count / 1000),
            "pss": Measure(f"{count:,} children, memory of the tree (PSS)", "MiB", 700),
            "growth": Measure(f"{count:,} children, descriptors that the host has more than before", "", 0),
        },
        {RLM: partial(_fan_out_with_descriptors, count), "forked ipykernels": partial(_kernels_with_memory, count)},
        full=1,
        quick=1,
    )


# ---- runs


def _rlm_run(script: Script, bench: Bench, **settings: int) -> Ran:
    return runs.rlm(bench, script, {"max_depth": 1, **settings}).ran


def _all_at_once(count: int) -> Run:
    return partial(_rlm_run, runs.fan(count), max_concurrent_agents=count + 1)


def _many_kernels(start: str, count: int, at_once: int | None = None) -> Run:
    return lambda bench: bench.run_floor("many_kernels", start, count, at_once or count)


def _forked_and_cold(make: Callable[[str], Contender]) -> dict[str, Contender]:
    return {f"{start} ipykernels": make(start) for start in ("forked", "cold")}


def _duration(run: Run, bench: Bench) -> Sample:
    return {"wall": run(bench).wall}


def _slope(make: Callable[[int], Run], bench: Bench) -> Sample:
    few, many = make(FEW)(bench).wall, make(MANY)(bench).wall
    return {"wall": (many - few) / (MANY - FEW)}


def _peak(make: Callable[[int], Run], bench: Bench) -> Sample:
    peaks = []
    for count in (FEW, MANY):
        with bench.memory() as memory:
            make(count)(bench)
        peaks.append(memory.peak)
    return {"pss": peaks[1], "one": (peaks[1] - peaks[0]) / (MANY - FEW)}


def _requests_only(bench: Bench) -> Ran:
    """Run the minimal agent, whose only cell sends a request for each child."""

    def script(request: Request) -> Answer:
        if request.depth:
            return DONE
        port = int(request.headers["host"].rpartition(":")[2])
        posts = call("ipython", code=POSTS.format(port=port, count=MANY))
        return posts if request.turn == 0 else runs.done_if(str(MANY), request)

    return runs.floor(bench, "std", script).ran


def _fan_out_with_descriptors(count: int, bench: Bench) -> Sample:
    """Run a fan-out, and count the host's descriptors twice.

    First after a few children, when kernel and connections exist, and again at the end.
    """
    host: list[int] = []
    counts: list[int] = []

    def script(request: Request) -> Answer:
        if request.depth:
            return runs.ONE_CELL(request)
        if request.turn > 0:
            counts.append(descriptors(host[0]))
        return runs.done_if(str(count), request) if request.turn == 2 else runs.gather((FEW, count)[request.turn])

    with bench.memory(every=0.5) as memory:
        ran = runs.rlm(bench, script, {"max_depth": 1, "max_agents": FEW + count + 1}, watch=host.append).ran
    return {"wall": ran.wall, "pss": memory.peak, "growth": counts[1] - counts[0]}


def _kernels_with_memory(count: int, bench: Bench) -> Sample:
    with bench.memory(every=0.5) as memory:
        ran = _many_kernels("forked", count, 4)(bench)
    return {"wall": ran.wall, "pss": memory.peak}
