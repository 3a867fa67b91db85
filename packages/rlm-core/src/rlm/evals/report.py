"""The outcome of a comparison, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlm.evals.compare import Arm, EvalResult
from rlm.present import humanize
from rlm.text.statistics import percentiles

_PERCENTS = (50, 95)
_NAMED = 5  # maximum number of tasks that are named


def summary(results: Sequence[EvalResult], arms: Sequence[Arm]) -> dict[str, Any]:
    """By arm: score, cost, tokens and time; scores by size; and the verdict on recursion."""
    by_arm: dict[Arm, list[EvalResult]] = {arm: [each for each in results if each.arm == arm] for arm in arms}
    found: dict[Arm, dict[str, Any]] = {arm: _numbers(rows) for arm, rows in by_arm.items() if rows}
    sizes = sorted({each.size for each in results if each.size is not None})
    by_size = {
        str(size): {arm: _mean(each.score for each in rows if each.size == size) for arm, rows in by_arm.items()}
        for size in sizes
    }
    return {"arms": found, "by_size": by_size, "verdict": verdict(results, found)}


def _numbers(rows: Sequence[EvalResult]) -> dict[str, Any]:
    costs = [each.cost for each in rows if each.cost is not None]
    known = len(costs) == len(rows)
    return {
        "tasks": len(rows),
        "score": _mean(each.score for each in rows),
        "cost": percentiles(costs, _PERCENTS) | {"total": round(sum(costs), 6)} if known else None,
        "tokens": percentiles([each.tokens for each in rows], _PERCENTS) | {"total": sum(each.tokens for each in rows)},
        "seconds": percentiles([each.seconds for each in rows], _PERCENTS),
        "agents": round(_mean(each.agents for each in rows) or 0, 1),
        "limits": sum(each.stop not in ("done", "error") for each in rows),
        "errors": sum(each.stop == "error" for each in rows),
    }


def verdict(results: Sequence[EvalResult], found: Mapping[Arm, dict[str, Any]]) -> list[str]:
    """Sentences that compare `rlm` with the best of the other arms; empty if there is nothing to compare."""
    others: list[Arm] = [arm for arm in found if arm != "rlm"]
    if "rlm" not in found or not others:
        return []
    best = max(others, key=lambda arm: (found[arm]["score"], -_price(found[arm])))
    ours, theirs = found["rlm"], found[best]
    said = [_outcome(ours, theirs, best)]
    better, worse = _by_task(results, best)
    if better or worse:
        named = ", ".join(worse[:_NAMED]) + (" and more" if len(worse) > _NAMED else "")
        said.append(
            f"Task by task: better than {best} in {len(better)}, worse in {len(worse)} of {ours['tasks']}"
            + (f" (worse: {named})." if worse else ".")
        )
    if ours["errors"] or theirs["errors"]:
        said.append("Runs that failed have the score 0.")
    return said


def _outcome(ours: dict[str, Any], theirs: dict[str, Any], best: Arm) -> str:
    at = f"{ours['score']:.2f} against {theirs['score']:.2f} of {best}, {_ratio(ours, theirs)}"
    if ours["score"] > theirs["score"]:
        return f"Recursion won: {at}."
    if ours["score"] == theirs["score"]:
        dearer = _price(ours) > _price(theirs)
        return f"Recursion lost, because it gained nothing: {at}." if dearer else f"Recursion cost no more: {at}."
    return f"Recursion lost: {at}."


def _price(numbers: dict[str, Any]) -> float:
    return float(numbers["cost"]["total"] if numbers["cost"] else numbers["tokens"]["total"])


def _ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    what = "cost" if ours["cost"] and theirs["cost"] else "tokens"
    other = theirs[what]["total"]
    return f"at {ours[what]['total'] / other:.1f} times its {what}" if other else f"at {what} where it had none"


def _by_task(results: Iterable[EvalResult], other: Arm) -> tuple[list[str], list[str]]:
    """The tasks in which `rlm` was better, and those in which it was worse."""
    scores: dict[str, dict[str, float]] = {}
    for each in results:
        scores.setdefault(str(each.id), {})[each.arm] = each.score
    both = {id: (of["rlm"], of[other]) for id, of in scores.items() if {"rlm", other} <= of.keys()}
    return [id for id, (a, b) in both.items() if a > b], [id for id, (a, b) in both.items() if a < b]


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return round(sum(numbers) / len(numbers), 6) if numbers else None


# ---- for people


def table(totals: dict[str, Any]) -> list[str]:
    """Format the totals as lines: the arms, the scores by size, the verdict."""
    head = ("arm", "score", "cost p50", "p95", "time p50", "p95", "agents", "limits", "errors")
    lines = _aligned([head, *(_row(arm, numbers) for arm, numbers in totals["arms"].items())])
    if totals["by_size"]:
        arms = list(totals["arms"])
        rows = [(f"{int(size):,}", *(_score(of.get(arm)) for arm in arms)) for size, of in totals["by_size"].items()]
        lines += ["", *_aligned([("size", *arms), *rows])]
    return [*lines, *([""] if totals["verdict"] else []), *totals["verdict"]]


def _row(arm: str, numbers: dict[str, Any]) -> tuple[str, ...]:
    time = numbers["seconds"]
    if numbers["cost"]:
        prices = [f"${numbers['cost'][each]:.4f}" for each in ("p50", "p95")]
    else:
        prices = [f"{humanize.count(int(numbers['tokens'][each]))} tokens" for each in ("p50", "p95")]
    times = [humanize.seconds(time[each]) for each in ("p50", "p95")]
    counts = (f"{numbers['agents']:g}", str(numbers["limits"]), str(numbers["errors"]))
    return (arm, _score(numbers["score"]), *prices, *times, *counts)


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
