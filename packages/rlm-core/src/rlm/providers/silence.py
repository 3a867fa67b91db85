"""Tell whoever watches that a request still waits: for a server that says nothing, or between two tries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

from rlm.core.events import Waiting
from rlm.core.messages import Reply
from rlm.core.ports import Sink


class Silence:
    """What is known of one request while nothing comes. `notice`: seconds after which that is told, again and again."""

    def __init__(self, sink: Sink, notice: float) -> None:
        self._sink = sink
        self._notice = notice
        now = time.monotonic()
        self._moved = now  # when a piece of the message came, or the request began
        self._told = now  # when whoever watches was last told something
        self._until = now
        self._problem = ""
        self._state = "no answer"

    def expect(self, seconds: float) -> None:
        """Silence ends in so many seconds at the latest: by the next try, or because it is given up."""
        self._until = time.monotonic() + seconds

    def queued(self) -> None:
        """The request waits for its turn: the provider takes no more at once."""
        self._state = "waiting for its turn"

    def sent(self) -> None:
        self._state = "no answer"

    def moved(self) -> None:
        """A piece of the message has come."""
        self._moved = self._told = time.monotonic()

    def failed(self, problem: str, *, told: bool) -> None:
        """A try came to nothing. `told`: whoever watches knows for sure."""
        self._problem = problem
        if told:
            self._told = time.monotonic()

    async def during(self, work: Coroutine[object, object, Reply]) -> Reply:
        """Wait for `work`. Cancelling this cancels it."""
        working = asyncio.ensure_future(work)
        try:
            while not working.done():
                left = self._told + self._notice - time.monotonic()
                if left > 0:
                    await asyncio.wait({working}, timeout=left)
                else:
                    self._tell()
            return working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    def _tell(self) -> None:
        self._told = now = time.monotonic()
        silent = f"{self._state} for {now - self._moved:.0f} s"
        reason = f"{silent}, the last try failed: {self._problem}" if self._problem else silent
        self._sink(Waiting(reason, round(max(0.0, self._until - now), 3)))
