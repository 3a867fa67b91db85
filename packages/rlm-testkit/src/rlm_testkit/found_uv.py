"""Finds the uv that runs these tests, or that install.sh would use; it need not be on PATH."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_DATA = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
_PLACES = (_DATA / "rlm/uv", Path.home() / ".local/bin", Path.home() / ".cargo/bin")


def _find() -> Path:
    running = os.environ.get("UV")  # set by `uv run`
    found = running or shutil.which("uv") or shutil.which("uv", path=os.pathsep.join(map(str, _PLACES)))
    assert found, "these tests build and install wheels: run them by ./install.sh --test, or put uv on PATH"
    return Path(found).resolve()


UV = _find()
