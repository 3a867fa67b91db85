"""The environment of a kernel. Inside a kernel, nothing else touches it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

_QUIET = {
    "TERM": "dumb",  # no colours and no repainting: the model reads text
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "PYTHONUNBUFFERED": "1",  # what a script printed before it was interrupted is not lost
}
_DEFAULTS = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}


def adopt(environment: Mapping[str, str]) -> None:
    """Become a process that was started with `environment`."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()


def make_quiet() -> None:
    """Tell the programs that cells start that nobody looks at a screen."""
    os.environ.update(_QUIET)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def python_path() -> list[str]:
    """The folders that the user adds to Python's search path."""
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
