"""Notebook displays for a reader of text: figures become pictures, widgets become text, tracebacks are truncated."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType
from typing import Any

from rlm.inside.jupyter import AutoFormattedTB, RepeatedFrames

# ---- figures


INLINE = "module://matplotlib_inline.backend_inline"

WITHOUT_WINDOW = ("inline", "agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
"""Valid arguments of `%matplotlib` here. All others open a window, or need a browser."""


class _MatplotlibFinder(MetaPathFinder):
    """Find matplotlib with the other finders, and set its backend when it is imported.

    Jupyter sets the variable MPLBACKEND, which every program that a cell starts inherits. A program of another
    environment that has matplotlib, but no matplotlib_inline, then fails at the import. So rlm does not set the
    variable: it sets the backend when a cell imports matplotlib, unless the user has set MPLBACKEND.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "matplotlib":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if not os.environ.get("MPLBACKEND"):
                module.rcParams["backend"] = INLINE

        setattr(spec.loader, "exec_module", exec_module)  # noqa: B010 - of this loader only
        return spec


def show_inline() -> None:
    """Show matplotlib's figures in the output of the cell that draws them, as in Jupyter."""
    sys.meta_path.insert(0, _MatplotlibFinder())


# ---- widgets


_VIEW = "application/vnd.jupyter.widget-view+json"


class Widgets:
    """The ipywidgets that the running cell has displayed, such as the bars of tqdm.notebook.

    A notebook redraws a widget whenever it changes. Here its first text would stay: 0 % for a bar that is complete.
    So a widget is shown when the cell ends, with its text at that time.
    """

    def __init__(self) -> None:
        self._shown: dict[str, list[object]] = {}  # ids in order, each with the objects that its text needs

    def keep(self, data: dict[str, Any]) -> bool:
        """Return whether this is the display of a widget. If so, keep the widget; `texts` shows it later."""
        view = data.get(_VIEW)
        name = str(view.get("model_id")) if isinstance(view, dict) else ""
        widget = _living().get(name)
        if widget is None:
            return False
        # keep alive what it refers to only weakly, as tqdm's row refers to its bar: it could be collected at any time
        self._shown[name] = []
        with suppress(ReferenceError):  # it has been collected already
            proxies = (value for value in vars(widget).values() if isinstance(value, weakref.ProxyTypes))
            self._shown[name].extend(value.__repr__.__self__ for value in proxies)
        return True

    def forget(self) -> None:
        self._shown.clear()

    def texts(self) -> Iterator[str]:
        """Yield the current text of each kept widget, once. Closed widgets have none."""
        shown, self._shown = self._shown, {}
        living = _living()
        for name in shown:
            if name in living:
                yield _text(living[name])


def _text(widget: object) -> str:
    with suppress(Exception):  # the __repr__ may be the user's, and fail
        return repr(widget)
    return f"<{type(widget).__name__}>"


def _living() -> dict[str, Any]:
    """Return all widgets by id. ipywidgets is the user's package, and may have any version."""
    module = sys.modules.get("ipywidgets.widgets.widget")
    living = getattr(module, "_instances", None)
    return living if isinstance(living, dict) else {}


# ---- tracebacks


_HEAD, _TAIL = 20, 30  # first and last frames of a deep stack that are formatted


class Tracebacks(AutoFormattedTB):
    """IPython's tracebacks, with only the two ends of a deep stack.

    IPython itself would format each of a hundred thousand frames, which takes minutes.
    """

    def get_records(self, etb: TracebackType, *rest: Any) -> list[Any]:
        links = _links(etb)
        if len(links) <= _HEAD + _TAIL:
            return list(super().get_records(etb, *rest))
        records = [
            super(Tracebacks, self).get_records(_joined(part), *rest) for part in (links[:_HEAD], links[-_TAIL:])
        ]
        # printed as `[... skipping similar frames: 2,940 of them]`: IPython checks only the type of `sd`
        count, frame_info = len(links) - _HEAD - _TAIL, type(records[0][0])
        skipped = frame_info(f"{count:,} of them", "", 0, None, None, sd=RepeatedFrames.__new__(RepeatedFrames))
        return [*records[0], skipped, *records[1]]


def _links(etb: TracebackType | None) -> list[TracebackType]:
    links = []
    while etb is not None:
        links.append(etb)
        etb = etb.tb_next
    return links


def _joined(links: list[TracebackType]) -> TracebackType:
    """Return a traceback that consists of these links."""
    joined: TracebackType | None = None
    for link in reversed(links):
        joined = TracebackType(joined, link.tb_frame, link.tb_lasti, link.tb_lineno)
    assert joined is not None
    return joined
