"""What a line of the screen says of a call, an agent or a text."""

from __future__ import annotations

import json

from rlm.core.messages import Usage
from rlm.present.describe import LONGEST, first_line
from rlm.present.humanize import tokens

_TELLING = ("code", "command", "path", "summary")
"""The argument of a tool that says best what a call does."""


def spent(turns: int, usage: Usage | None = None) -> str:
    """Turns, and tokens if they are given, in columns that are empty before the first turn."""
    worked = f"{turns:>4} {'turn' if turns == 1 else 'turns':<5}" if turns else " " * 10
    if usage is None:
        return worked
    return worked + f"{tokens(usage) if turns else '':>19}"


def short(path: str) -> str:
    """`root/sub-1a2b3c4d/sub-5e6f7a8b` as `1a2b/5e6f`."""
    names = path.split("/")[1:]
    return "/".join(name.removeprefix("sub-")[:4] for name in names)


def last_line(text: str) -> str:
    """The last line that says something. What rlm adds about the context is not the tool's word."""
    lines = (line.strip() for line in reversed(text[-4 * LONGEST :].splitlines()))
    return next((line[:LONGEST] for line in lines if line and not line.startswith("[context turns:")), "")


def gist(arguments: str) -> str:
    """What a call does, in a line. The model wrote `arguments`, and may not have written JSON."""
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        return first_line(arguments)
    if not isinstance(given, dict):
        return first_line(arguments)
    telling = next((given[name] for name in _TELLING if isinstance(given.get(name), str)), "")
    return first_line(telling or arguments)
