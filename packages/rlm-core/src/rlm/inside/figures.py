"""matplotlib's figures come out of the cell that draws them, as in Jupyter.

Jupyter says so in the variable MPLBACKEND, which every program that a cell starts inherits; those of other environments
have matplotlib and no matplotlib_inline, and fail at the import. So nothing is said in the environment: when a cell
imports matplotlib, its backend is set, unless the user's MPLBACKEND names one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

INLINE = "module://matplotlib_inline.backend_inline"

WITHOUT_WINDOW = ("inline", "agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
"""What `%matplotlib` can be given here. The others open a window, or need a browser."""


class _MatplotlibFinder(MetaPathFinder):
    """Finds matplotlib as the others do, and has its backend set when it has been imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "matplotlib":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            setattr(spec.loader, "exec_module", _then_inline(spec.loader.exec_module))  # noqa: B010 - of this one alone
        return spec


def _then_inline(execute: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def exec_module(module: ModuleType) -> None:
        execute(module)
        if not os.environ.get("MPLBACKEND"):
            module.rcParams["backend"] = INLINE

    return exec_module


def show_inline() -> None:
    sys.meta_path.insert(0, _MatplotlibFinder())
