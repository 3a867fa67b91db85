"""A number of slots, and a queue for them in order of rank."""

from __future__ import annotations

import asyncio
import heapq
import itertools

Rank = tuple[int, int]
"""The lowest rank is served first; of equal ranks, the one that came first."""


class Slots:
    """A semaphore with priorities and a variable size. asyncio's serves in order of arrival and has a fixed size.

    Nobody waits while a slot is free.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        """May exceed `size` for a time, after `size` was lowered."""
        self._waiting: list[tuple[Rank, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    async def acquire(self, rank: Rank) -> None:
        """Wait for a slot, which `release` frees again."""
        await self.granted(self.request(rank))

    def request(self, rank: Rank) -> asyncio.Future[None]:
        """Return a place in the queue, to be awaited with `granted`."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (rank, next(self._numbers), granted))
        self._grant()
        return granted

    async def granted(self, request: asyncio.Future[None]) -> None:
        """Wait until a request is granted. If the wait is cancelled, no slot stays taken."""
        try:
            await request
        except asyncio.CancelledError:
            if not request.cancelled():  # it was granted at the same moment
                self.release()
            raise

    def release(self) -> None:
        self.taken -= 1
        self._grant()

    def resize(self, size: int) -> None:
        """Change the number of slots. No taken slot is withdrawn."""
        self.size = size
        self._grant()

    def _grant(self) -> None:
        while self.taken < self.size and self._waiting:
            *_, granted = heapq.heappop(self._waiting)
            if not granted.done():
                self.taken += 1
                granted.set_result(None)
