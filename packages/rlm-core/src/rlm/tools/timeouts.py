"""The argument `timeout` of a tool."""

from __future__ import annotations

from typing import Any

from rlm.errors import BadArguments

LONGEST = 600.0
"""Seconds that a call may ask for, if the default is not more."""


def seconds(tool: str, arguments: dict[str, Any], default: float) -> float:
    """
    Raises:
        BadArguments: it is no time at all.
    """
    wanted = arguments.get("timeout")
    if wanted is None:
        return default
    if not wanted > 0:
        raise BadArguments(f"{tool}: 'timeout' must be more than 0 seconds.")
    return min(float(wanted), longest(default))


def longest(default: float) -> float:
    return max(default, LONGEST)
