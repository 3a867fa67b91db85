"""Does a prompt session keep its size? `python -m bench.long_session --turns 2000`.

A user at a terminal gives many tasks. Each is a cell, whose output is sometimes folded, and an answer. In every tenth
task the user also runs a cell, and in every twentieth the agent's cell fails. The model's context holds only the newest
turns, so growth comes from rlm itself. The program prints the memory (PSS) of host and kernel against the turns, and
the slope of the second half.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from rlm_testkit.scripted import Answer, Request, Scripted, call, text

from bench import machine, processes
from bench.harness import Bench
from bench.prompt import SIGN, PromptTerminal

IN_CONTEXT = 20
"""Number of turns that the model sees."""


@dataclass(frozen=True, slots=True)
class Point:
    """Memory in MiB after a number of turns."""

    turns: int
    host: float
    kernel: float
    seconds: float


class Model:
    """Answers each task with a cell and then a text. It does not store the requests."""

    def __init__(self) -> None:
        self.server = Scripted(self._answer, strict=False)
        self._asked = 0

    def _answer(self, request: Request) -> Answer:
        self.server.requests.clear()
        if request.messages[-1]["role"] == "tool":
            return text(f"The sum of `rows` is **{self._asked}**, as in the turns before.\n\n- one\n- two")
        self._asked += 1
        if self._asked % 20 == 0:
            return call("ipython", code=f"rows = [{self._asked}]\nrows[1]")
        count = 200 if self._asked % 5 == 0 else 5
        return call(
            "ipython", code=f"rows = list(range({self._asked}))\nfor n in range({count}): print('row', n)\nlen(rows)"
        )


def measure(bench: Bench, turns: int, every: int, minutes: float) -> list[Point]:
    folder, environment = bench.workspace()
    model, points = Model(), list[Point]()
    settings = {"TERM": "xterm-256color", "RLM_MAX_TURNS_IN_CONTEXT": str(IN_CONTEXT)}
    with model.server as server:
        variables = environment | settings | {"RLM_BASE_URL": server.url}
        with PromptTerminal([str(bench.rlm)], folder, variables) as terminal:
            terminal.until(SIGN)
            began = time.monotonic()
            for task in range(1, turns // 2 + 1):
                _ask(terminal, task)
                time.sleep(max(0.0, began + minutes * 60 * task * 2 / turns - time.monotonic()))
                if task * 2 % every == 0:
                    host, kernel = _memory(bench)
                    points.append(Point(task * 2, host, kernel, time.monotonic() - began))
                    print(row(points[-1]), flush=True)
    return points


def _ask(terminal: PromptTerminal, task: int) -> None:
    """Give a task, and wait for its end: the line with the number of turns."""
    if task % 10 == 0:
        terminal.write(f">'mine', {task}\r")
        terminal.until(f"('mine', {task})".encode())
    terminal.write(f"look at the rows, {task}\r")
    terminal.until(f" {task * 2} turns · ".encode())


def _memory(bench: Bench) -> tuple[float, float]:
    """The memory of the host, and of the kernel, which the host's zygote has forked."""
    parents = {pid: processes.parent(pid) for pid in bench.tree()}
    hosts = [pid for pid, parent in parents.items() if parent not in parents]
    kernels = [pid for pid, parent in parents.items() if parents.get(parent) in hosts]
    return sum(map(processes.pss, hosts)), sum(map(processes.pss, kernels))


def row(point: Point) -> str:
    return f"| {point.turns:,} | {point.host:.1f} | {point.kernel:.1f} | {point.seconds:.0f} |"


def slopes(points: Sequence[Point]) -> str:
    """The growth in KiB per turn, by least squares."""
    half = points[len(points) // 2 :]
    turns = [float(point.turns) for point in half]
    host, kernel = (
        linear_regression(turns, values).slope * 1024
        for values in ([point.host for point in half], [point.kernel for point in half])
    )
    return f"from turn {half[0].turns:,} on: host {host:+.2f} KiB a turn, kernel {kernel:+.2f} KiB a turn"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.long_session", description=__doc__)
    parser.add_argument("--turns", type=int, default=2_000, help="model calls, two a task")
    parser.add_argument("--every", type=int, default=100, help="turns between two measurements")
    parser.add_argument("--minutes", type=float, default=0, help="spread the turns over so long, as a person's are")
    parser.add_argument("--rlm", type=Path, default=Path(sys.executable).parent / "rlm", help="the command to measure")
    options = parser.parse_args()
    print(f"{machine.header(machine.state())}\n\n| turns | host, MiB | kernel, MiB | s |\n|---|---|---|---|")
    with Bench(options.rlm) as bench:
        points = measure(bench, options.turns, options.every, options.minutes)
    print(f"\n{slopes(points)}")


if __name__ == "__main__":
    main()
