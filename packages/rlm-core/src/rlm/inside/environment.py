"""The environment of a kernel. Inside a kernel, nothing else touches it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from rlm.process.unattended import unattended


def adopt(environment: Mapping[str, str]) -> None:
    """Become a process that was started with `environment`."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()


def make_unattended() -> None:
    """Tell all programs that cells start that nobody watches."""
    wanted = unattended(os.environ)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def python_path() -> list[str]:
    """The folders that the user adds to Python's search path."""
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
