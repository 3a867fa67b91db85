"""What whoever watches hears while a message comes: its text piece by piece, and how much there is of the rest."""

from __future__ import annotations

import time

from rlm.core.events import Delta, Writing
from rlm.core.ports import Sink
from rlm.providers.normalize import strip_surrogates
from rlm.providers.ports import Piece

PERIOD = 0.2
"""Seconds between two reports of what is no text."""


class Progress:
    """Of one message, perhaps in several tries."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._reported = float("-inf")
        self._sizes = {"reasoning": 0, "call": 0}
        self._lines = 0
        self._end = ""  # half of an escape sequence

    def add(self, piece: Piece) -> None:
        if piece.text:
            self._sink(Delta(strip_surrogates(piece.text)))
        if piece.reasoning:
            self._grow("reasoning", len(piece.reasoning))
        if piece.arguments:
            self._lines += (self._end + piece.arguments).count("\\n")
            self._end = "\\" if piece.arguments.endswith("\\") else ""
            self._grow("call", len(piece.arguments))

    def _grow(self, what: str, size: int) -> None:
        self._sizes[what] += size
        if (now := time.monotonic()) >= self._reported + PERIOD:
            self._reported = now
            self._sink(Writing(what, self._sizes[what], 1 + self._lines if what == "call" else 0))
