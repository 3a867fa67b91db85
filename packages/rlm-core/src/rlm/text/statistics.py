"""Statistics of many numbers, such as the costs of a thousand runs."""

from __future__ import annotations

from collections.abc import Collection
from math import comb

PERCENTS = (50, 95, 99)


def percentiles(values: Collection[float], percents: Collection[int] = PERCENTS) -> dict[str, float]:
    """Return `p50`, `p95`, …: the least value that this many percent do not exceed (nearest rank); {} for no values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"p{percent}": ordered[max(0, -(-percent * len(ordered) // 100) - 1)] for percent in percents}


def pass_at_k(tries: int, passed: int, k: int) -> float:
    """Estimate without bias the probability that one of `k` tries passes, if `passed` of `tries` did.

    1 - C(n - c, k) / C(n, k): https://arxiv.org/abs/2107.03374, equation 1.
    """
    return 1 - comb(tries - passed, k) / comb(tries, k)
