"""The argument `timeout` of a tool."""

from __future__ import annotations

from typing import Any

from rlm.errors import BadArguments

LONGEST = 600.0
"""Maximum seconds that a call may request, unless the default is higher."""


def call_timeout(tool: str, arguments: dict[str, Any], default: float) -> float:
    """Return the timeout of a call.

    Raises:
        BadArguments: it is not above 0.
    """
    wanted = arguments.get("timeout")
    if wanted is None:
        return default
    if not wanted > 0:
        raise BadArguments(f"{tool}: 'timeout' must be more than 0 seconds.")
    return min(float(wanted), max_timeout(default))


def max_timeout(default: float) -> float:
    """Return the most seconds that a call may request."""
    return max(default, LONGEST)
