"""The cost of a batch besides the model calls and kernel executions of its tasks, and what it leaves behind."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rlm_testkit.scripted import Answer, Request, Scripted, text

from bench.harness import Bench, Ran, RunFailedError
from bench.measures import RLM, Measure, Sample, Scenario
from bench.processes import descriptors, pss
from bench.runs import ONE, ONE_CELL

AT_ONCE = 16
FEW = 20
"""Number of tasks at the start of a batch that are left out of measures of the later tasks."""
DELAY = 5.0
"""Seconds that the model takes in scenarios that wait for it."""


def scenarios(quick: bool) -> list[Scenario]:
    count = 100 if quick else 1000
    waiting = (1, 10, 100) if quick else (1, 10, 100, 1000)
    return [_overhead(count), _flat(count), *map(_waiting, waiting), _on_ray(120 if quick else 320)]


def _overhead(count: int) -> Scenario:
    return Scenario(
        "batch",
        {"wall": Measure(f"{count:,} tasks with a cell each, {AT_ONCE} at once, whole batch", "s")},
        {RLM: partial(_duration, count), "forked ipykernels": partial(_bare, count)},
        full=3,
        quick=1,
    )


def _flat(count: int) -> Scenario:
    return Scenario(
        "batch-flat",
        {
            "memory": Measure(f"{count:,} tasks, memory of the host, from a tenth of them to the end (PSS)", "MiB", 20),
            "files": Measure(f"{count:,} tasks, descriptors of the host, from a tenth of them to the end", "", 0),
        },
        {RLM: partial(_growth, count)},
        full=1,
        quick=1,
    )


def _waiting(at_once: int) -> Scenario:
    return Scenario(
        f"batch-{at_once}",
        {
            "rate": Measure(f"tasks a minute, {at_once:,} waiting for a model of {DELAY:g} s, no cell", ""),
            "cells": Measure(f"the same, a cell each and so two requests, {at_once:,} at once", ""),
            "pss": Measure(f"memory of the tree meanwhile (PSS), {at_once:,} at once, a cell each", "MiB"),
        },
        {RLM: partial(_rates, at_once)},
        full=1,
        quick=1,
    )


def _on_ray(count: int) -> Scenario:
    """A scenario on Ray, which must be installed beside the measured rlm: --rlm."""
    return Scenario(
        "batch-ray",
        {
            "task": Measure(f"a task with a cell, of the last {count - FEW} of {count}, {AT_ONCE} at once", "ms"),
            "start": Measure("from the command to the first request of such a batch", "s"),
            "end": Measure("from its last reply to its end", "s"),
        },
        {RLM: partial(_phases, count, "ray"), "here": partial(_phases, count, "here")},
        full=3,
        quick=1,
    )


def _phases(count: int, executor: str, bench: Bench) -> Sample:
    began: list[float] = []
    ended: list[float] = []

    def script(request: Request) -> Answer:
        (ended if request.turn else began).append(time.monotonic())
        return ONE_CELL(request)

    with Scripted(script, strict=False) as server:
        ran = _batch(bench, server, count, AT_ONCE, flags=("--executor", executor))
    task = (ended[-1] - ended[FEW - 1]) / (count - FEW)
    return {"task": task, "start": began[0] - ran.began, "end": ran.ended - ended[-1]}


def _duration(count: int, bench: Bench) -> Sample:
    with Scripted(ONE_CELL, strict=False) as server:
        return {"wall": _batch(bench, server, count, AT_ONCE).wall}


def _bare(count: int, bench: Bench) -> Sample:
    with Scripted(ONE_CELL, strict=False) as server:
        return {"wall": bench.run_floor("batch", server.url, count, AT_ONCE).wall}


def _growth(count: int, bench: Bench) -> Sample:
    """The growth of the host's memory and descriptors from a tenth of the tasks to all but the last few."""
    host: list[int] = []
    samples: list[tuple[float, int]] = []
    looks = {count // 10, count - AT_ONCE}
    ended: set[int] = set()

    def script(request: Request) -> Answer:
        if request.turn:
            ended.add(len(ended))
            if len(ended) in looks:
                samples.append((pss(host[0]), descriptors(host[0])))
        return ONE_CELL(request)

    with Scripted(script, strict=False) as server:
        _batch(bench, server, count, AT_ONCE, host)
    return {"memory": samples[1][0] - samples[0][0], "files": samples[1][1] - samples[0][1]}


def _rates(at_once: int, bench: Bench) -> Sample:
    count = max(3, min(3 * at_once, 1500))
    late = {False: text("done").after(DELAY), True: ONE.after(DELAY)}
    with Scripted(lambda _: late[False], strict=False) as server:
        plain = _batch(bench, server, count, at_once)
    with Scripted(lambda request: late[request.turn == 0], strict=False) as server, bench.memory(0.5) as memory:
        cells = _batch(bench, server, count, at_once)
    return {"rate": 60 * count / plain.wall, "cells": 60 * count / cells.wall, "pss": memory.peak}


def _batch(
    bench: Bench, server: Scripted, count: int, at_once: int, host: list[int] | None = None, flags: Sequence[str] = ()
) -> Ran:
    """
    Raises:
        RunFailedError: a task fails.
    """
    folder, _ = bench.workspace()
    lines = (json.dumps({"id": number, "prompt": f"task {number}"}) for number in range(count))
    (folder / "tasks.jsonl").write_text("\n".join(lines))
    words = ["batch", str(folder / "tasks.jsonl"), "-o", str(folder / "out"), "-j", str(at_once), *flags]
    variables = {"RLM_MODEL": "scripted", "RLM_BASE_URL": server.url}
    ran = bench.run([str(bench.rlm), *words], variables, None if host is None else host.append)
    _check(folder / "out", count)
    return ran


def _check(out: Path, count: int) -> None:
    done = json.loads((out / "summary.json").read_text())["done"]
    if done != count:
        raise RunFailedError(f"{done} of {count} tasks are done")
