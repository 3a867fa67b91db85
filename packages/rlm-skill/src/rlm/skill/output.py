"""Print what a skill returns."""

import sys
from typing import Any


def as_json(value: Any) -> str:
    """Write a value as JSON; what JSON and pydantic do not know becomes its repr."""
    from pydantic_core import to_json

    return to_json(value, fallback=repr).decode()


def print_result(value: Any) -> None:
    """Print a skill's result on stdout: text as it is, nothing for None, all else as JSON.

    A newline ends it, unless the text ends with one.
    """
    if value is None:
        return
    text = value if isinstance(value, str) else as_json(value)
    # A lone surrogate or a narrow encoding must not lose a result that was worked for.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    print(text, end="" if text.endswith("\n") else "\n")
