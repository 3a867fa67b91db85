"""The terms of a benchmark, and how it runs.

Contenders take turns, so that a drift of the machine affects all equally.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.harness import Bench, RunFailedError

Unit = Literal["s", "ms", "MiB", ""]
Sample = Mapping[str, float]
"""Values by measure: seconds, MiB or counts."""

RLM = "rlm"


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table. `goal` is in the displayed unit; times are measured in seconds."""

    name: str
    unit: Unit
    goal: float | None = None

    def shown(self, value: float) -> float:
        return value * 1000 if self.unit == "ms" else value


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is measured, who runs it (rlm first, then the floors), and how often in full and in quick mode."""

    name: str
    measures: Mapping[str, Measure]
    contenders: Mapping[str, Callable[[Bench], Sample]]
    full: int
    quick: int


@dataclass(slots=True)
class Results:
    """The results of a scenario: values by measure and contender, in the displayed unit."""

    scenario: Scenario
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """The reason why a contender was left out, by contender."""

    def keep(self, contender: str, sample: Sample) -> None:
        for key, value in sample.items():
            shown = self.scenario.measures[key].shown(value)
            self.values.setdefault(key, {}).setdefault(contender, []).append(shown)


def perform(scenario: Scenario, bench: Bench, rounds: int) -> Results:
    """Run all contenders in turn, `rounds` times.

    A contender that fails is left out from then on; the table reports it.
    """
    results = Results(scenario)
    for number in range(rounds):
        for name, run in scenario.contenders.items():
            if name in results.failures:
                continue
            print(f"{scenario.name} {number + 1}/{rounds}: {name}", file=sys.stderr)
            try:
                results.keep(name, run(bench))
            except RunFailedError as error:
                print(f"  failed: {error}", file=sys.stderr)
                results.failures[name] = str(error)
    return results
