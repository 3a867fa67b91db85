"""Converts names of other systems to names of Python."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Container

_LONGEST = 60  # characters

PYTHON = frozenset((*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *sys.stdlib_module_names))
"""Names that a variable would hide, or that would hide it: `import time` replaces a variable `time`."""


def identifier(name: str, taken: Container[str] = (), *, mark: str = "") -> str:
    """Return a public Python name that is not `taken`: `create_issue` for `create-issue`. Keywords get a `_` suffix.

    If the name is taken, it gets the suffix `mark`, and then a number.
    """
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:_LONGEST]
    word = word if word[:1].isalpha() else f"n_{word}".rstrip("_")
    word = f"{word}_" if keyword.iskeyword(word) and not mark else word
    candidates = [word, *([f"{word}_{mark}"] if mark else []), *(f"{word}_{number}" for number in range(2, 10_000))]
    return next(each for each in candidates if each not in taken and not keyword.iskeyword(each))
