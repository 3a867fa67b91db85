"""Tracebacks of bearable length. IPython formats each of a hundred thousand frames, which takes minutes."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rlm.inside.jupyter import AutoFormattedTB, RepeatedFrames

_HEAD, _TAIL = 20, 30  # frames of a deep stack that are formatted


class Tracebacks(AutoFormattedTB):
    """IPython's, but of a deep stack only its two ends."""

    def get_records(self, etb: TracebackType, *rest: Any) -> list[Any]:
        links = _links(etb)
        if len(links) <= _HEAD + _TAIL:
            return list(super().get_records(etb, *rest))
        records = [
            super(Tracebacks, self).get_records(_joined(part), *rest) for part in (links[:_HEAD], links[-_TAIL:])
        ]
        return [*records[0], _skipped(len(links) - _HEAD - _TAIL, type(records[0][0])), *records[1]]


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


def _skipped(count: int, frame_info: Any) -> Any:
    """Printed as `[... skipping similar frames: 2,940 of them]`: IPython looks at the type of `sd` alone."""
    return frame_info(f"{count:,} of them", "", 0, None, None, sd=RepeatedFrames.__new__(RepeatedFrames))
