"""What a notebook draws, for a reader of text: figures are pictures, widgets are texts, tracebacks have an end."""

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
"""What `%matplotlib` can be given here. The others open a window, or need a browser."""


class _MatplotlibFinder(MetaPathFinder):
    """Finds matplotlib as the others do, and has its backend set when it has been imported.

    Jupyter says so in the variable MPLBACKEND, which every program that a cell starts inherits; those of other
    environments have matplotlib and no matplotlib_inline, and fail at the import. So nothing is said in the
    environment: when a cell imports matplotlib, its backend is set, unless the user's MPLBACKEND names one.
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

        setattr(spec.loader, "exec_module", exec_module)  # noqa: B010 - of this one alone
        return spec


def show_inline() -> None:
    """matplotlib's figures come out of the cell that draws them, as in Jupyter."""
    sys.meta_path.insert(0, _MatplotlibFinder())


# ---- widgets


_VIEW = "application/vnd.jupyter.widget-view+json"


class Widgets:
    """Those of ipywidgets that the running cell has displayed, such as the bars of tqdm.notebook.

    In a notebook a widget is drawn anew whenever it changes. Here its first text would stay: 0 % of a bar that is full.
    So it is shown as the text that it is when the cell ends.
    """

    def __init__(self) -> None:
        self._shown: dict[str, list[object]] = {}  # ids in order, each with what its text needs

    def keep(self, data: dict[str, Any]) -> bool:
        """Whether this is the display of a widget, which `texts` will show."""
        view = data.get(_VIEW)
        name = str(view.get("model_id")) if isinstance(view, dict) else ""
        widget = _living().get(name)
        if widget is None:
            return False
        # what it refers to weakly, such as tqdm's row its bar: the garbage collector takes it when it likes
        self._shown[name] = []
        with suppress(ReferenceError):  # it is gone already
            proxies = (value for value in vars(widget).values() if isinstance(value, weakref.ProxyTypes))
            self._shown[name].extend(value.__repr__.__self__ for value in proxies)
        return True

    def forget(self) -> None:
        self._shown.clear()

    def texts(self) -> Iterator[str]:
        """What they are now, once. A widget that has been closed is gone."""
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
    """All widgets by id. ipywidgets is the user's, and may be of any version."""
    module = sys.modules.get("ipywidgets.widgets.widget")
    living = getattr(module, "_instances", None)
    return living if isinstance(living, dict) else {}


# ---- tracebacks


_HEAD, _TAIL = 20, 30  # frames of a deep stack that are formatted


class Tracebacks(AutoFormattedTB):
    """IPython's, but of a deep stack only its two ends: it formats each of a hundred thousand frames, for minutes."""

    def get_records(self, etb: TracebackType, *rest: Any) -> list[Any]:
        links = _links(etb)
        if len(links) <= _HEAD + _TAIL:
            return list(super().get_records(etb, *rest))
        records = [
            super(Tracebacks, self).get_records(_joined(part), *rest) for part in (links[:_HEAD], links[-_TAIL:])
        ]
        # printed as `[... skipping similar frames: 2,940 of them]`: IPython looks at the type of `sd` alone
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
    """A traceback of these alone."""
    joined: TracebackType | None = None
    for link in reversed(links):
        joined = TracebackType(joined, link.tb_frame, link.tb_lasti, link.tb_lineno)
    assert joined is not None
    return joined
