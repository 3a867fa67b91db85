"""ipykernel without what it would import for nothing: debugpy costs more than the rest of a kernel's start."""

from __future__ import annotations

import sys


def _without_debugger() -> None:
    """ipykernel.debugger imports debugpy if it can. Let it find none; a cell that wants debugpy still gets it."""
    if "debugpy" in sys.modules:
        return
    sys.modules["debugpy"] = None  # type: ignore[assignment]  # how Python spells "not to be imported"
    try:
        import ipykernel.debugger  # noqa: F401 - for its effect
    finally:
        del sys.modules["debugpy"]


_without_debugger()
