"""Where `%pip` puts packages for rlm's kernels: the host shows it to sandboxes, kernels import from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

SANDBOXED = "RLM_SANDBOXED"
"""A variable that is set in a sandbox, where that folder is read-only."""


def packages_folder(environment: Mapping[str, str]) -> Path:
    """The user's, for this minor version of Python. Outside rlm's own environment, so that it outlives an update."""
    home = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    data = Path(environment.get("XDG_DATA_HOME") or Path(home, ".local", "share"))
    return data / "rlm" / "packages" / f"{sys.version_info.major}.{sys.version_info.minor}"
