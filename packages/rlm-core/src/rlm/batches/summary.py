"""The totals of a batch: a fold of its results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from rlm.batches.results import TaskResult
from rlm.core.messages import Usage
from rlm.text.statistics import pass_at_k, percentiles


def summary(results: Iterable[TaskResult], expected: int, wall: float, rate: float | None) -> dict[str, Any]:
    """The content of summary.json.

    Args:
        results: each rollout once.
        expected: how many rollouts there are; those without a result are `missing`.
        wall: seconds that the batch has run, in total over all runs that were not killed.
        rate: results per minute of the last run that had results.
    """
    statuses: Counter[str] = Counter()
    stops: Counter[str] = Counter()
    usage, costs, durations, turns, rewards = Usage(), list[float](), list[float](), list[float](), list[float]()
    tries: defaultdict[str, list[bool]] = defaultdict(list)
    for result in results:
        statuses[result.status] += 1
        stops[str(result.stop_reason)] += 1
        usage += result.usage.usage
        durations.append(result.duration)
        turns.append(result.turns)
        costs += [result.cost] if result.cost is not None else []
        rewards += [result.reward] if result.reward is not None else []
        tries[str(result.id)].append(result.passed)
    count = sum(statuses.values())
    return {
        "tasks": len(tries),
        "rollouts": count,
        "missing": expected - count,
        "done": statuses["done"],
        "limit": statuses["limit"],
        "error": statuses["error"],
        "stop_reasons": dict(sorted(stops.items())),
        "done_rate": _share(statuses["done"], count),
        "passed": sum(map(sum, tries.values())),
        "pass_at_k": _pass_at_each_k(tries.values()),
        "reward": _numbers(rewards, mean=True),
        "cost": _numbers(costs, total=True),
        "duration": _numbers(durations, mean=True),
        "turns": _numbers(turns, mean=True),
        "tokens": {
            "prompt": usage.prompt,
            "cached": usage.cached,
            "completion": usage.completion,
            "reasoning": usage.reasoning,
        },
        "wall": round(wall, 3),
        "tasks_per_minute": None if rate is None else round(rate, 2),
    }


def _pass_at_each_k(tries: Iterable[list[bool]]) -> dict[str, float]:
    """The mean over the tasks with at least k tries, for k = 1, 2, 4, … and for the maximum number of tries."""
    counts = [(len(each), sum(each)) for each in tries]
    most = max((number for number, _ in counts), default=0)
    found = {}
    powers = [1 << power for power in range(most.bit_length())]  # no value is greater than `most`
    for k in sorted({*powers, most} - {0}):
        chances = [pass_at_k(number, passed, k) for number, passed in counts if number >= k]
        found[str(k)] = round(sum(chances) / len(chances), 6)
    return found


def _numbers(values: list[float], *, mean: bool = False, total: bool = False) -> dict[str, float] | None:
    """Statistics of the values; None if there are none: an unknown cost is not 0."""
    if not values:
        return None
    found = percentiles(values)
    if mean:
        found["mean"] = round(sum(values) / len(values), 6)
    if total:
        found["total"] = round(sum(values), 6)
    return found


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
