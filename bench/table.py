"""Results as a Markdown table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from bench.measures import RLM, Measure, Results

HEAD = (
    "| | rlm, median | spread | runs | floors in the same session, and rlm's ratio to each | goal |\n"
    "|---|---|---|---|---|---|"
)


def markdown(all_results: Sequence[Results]) -> str:
    """One line per measure."""
    lines = [HEAD, *(line for results in all_results for line in _lines(results))]
    lost = [
        f"- {results.scenario.name}, {name}: {error}"
        for results in all_results
        for name, error in results.failures.items()
    ]
    return "\n".join([*lines, *(["", "Failed:", "", *lost] if lost else [])])


def as_json(all_results: Sequence[Results], machine: dict[str, str]) -> dict[str, Any]:
    """All values, in the displayed units."""
    return {
        "machine": machine,
        "measures": [
            {
                "scenario": results.scenario.name,
                "name": measure.name,
                "unit": measure.unit,
                "goal": measure.goal,
                "values": results.values.get(key, {}),
            }
            for results in all_results
            for key, measure in results.scenario.measures.items()
        ],
        "failures": {results.scenario.name: results.failures for results in all_results if results.failures},
    }


def _lines(results: Results) -> Iterator[str]:
    for key, measure in results.scenario.measures.items():
        by_contender = results.values.get(key, {})
        ours = by_contender.get(RLM, [])
        floors = [_floor(measure, name, values, ours) for name, values in by_contender.items() if name != RLM]
        goal = "–" if measure.goal is None else f"≤ {_number(measure.goal, measure.unit)}"
        cells = (measure.name, _median(measure, ours), _spread(measure, ours), str(len(ours)), ", ".join(floors), goal)
        yield f"| {' | '.join(cell or '–' for cell in cells)} |"


def _median(measure: Measure, values: Sequence[float]) -> str:
    return f"**{_number(median(values), measure.unit)}**" if values else "failed"


def _spread(measure: Measure, values: Sequence[float]) -> str:
    """The minimum and the maximum: with so few runs there are no better quantiles."""
    return f"{_number(min(values))} – {_number(max(values), measure.unit)}" if values else ""


def _floor(measure: Measure, name: str, values: Sequence[float], ours: Sequence[float]) -> str:
    floor = median(values)
    ratio = f" (×{_number(median(ours) / floor)})" if ours and floor > 0 else ""
    return f"{name} {_number(floor, measure.unit)}{ratio}"


def _number(value: float, unit: str = "") -> str:
    """Two or three significant digits."""
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()
