"""Widgets of ipywidgets, such as the bars of tqdm.notebook, are shown as the text that they are when the cell ends.

In a notebook a widget is drawn anew whenever it changes. Here its first text would stay: 0 % of a bar that is full.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_VIEW = "application/vnd.jupyter.widget-view+json"


class Widgets:
    """Those that the running cell has displayed."""

    def __init__(self) -> None:
        self._shown: dict[str, list[object]] = {}  # ids in order, each with what its text needs

    def keep(self, data: dict[str, Any]) -> bool:
        """Whether this is the display of a widget, which `texts` will tell of."""
        view = data.get(_VIEW)
        name = str(view.get("model_id")) if isinstance(view, dict) else ""
        widget = _living().get(name)
        if widget is None:
            return False
        self._shown[name] = _behind_proxies(widget)
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


def _behind_proxies(widget: object) -> list[object]:
    """What it refers to weakly, such as tqdm's row its bar: the garbage collector takes it when it likes."""
    kept: list[object] = []
    with suppress(ReferenceError):  # it is gone already
        kept.extend(value.__repr__.__self__ for value in vars(widget).values() if isinstance(value, weakref.ProxyTypes))
    return kept


def _living() -> dict[str, Any]:
    """All widgets by id. ipywidgets is the user's, and may be of any version."""
    module = sys.modules.get("ipywidgets.widgets.widget")
    living = getattr(module, "_instances", None)
    return living if isinstance(living, dict) else {}
