"""Loan times."""

import re

UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60}


def seconds(text: str) -> int:
    """`1w 2d` becomes 777600. Parts may come in any order; an unknown one is a ValueError."""
    match = re.match(r"(\d+)\s*([a-z])", text.strip())
    if match is None:
        raise ValueError(f"not a duration: {text!r}")
    count, unit = match.groups()
    return int(count) * UNITS[unit]
