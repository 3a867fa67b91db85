"""`rlm.map`: work on many items at once in a cell, with one line of progress."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rlm.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")

_PAUSE = 0.2  # seconds between two lines of progress


async def each(
    work: Callable[[T], Awaitable[R]], items: Sequence[T], *, limit: int, retries: int, keep: bool
) -> list[R | BaseException]:
    """Work on each item, at most `limit` at once. See `rlm.map`. With `keep`, exceptions become results.

    Raises:
        ConfigError: a number is too small.
    """
    if limit < 1 or retries < 0:
        raise ConfigError(
            f"limit={limit} and retries={retries} are not allowed: the limit must be at least 1, retries at least 0."
        )
    slots, progress = asyncio.Semaphore(limit), _MapProgress(len(items))

    async def one(item: T) -> R | BaseException:
        async with slots:
            for left in range(retries, -1, -1):
                try:
                    result = await work(item)
                except Exception as error:
                    if left:
                        continue
                    progress.ended(ok=False)
                    if keep:
                        return error
                    raise
                progress.ended(ok=True)
                return result
        raise AssertionError("the last try has returned or raised")

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        progress.close()


class ProgressLine:
    """A line of progress that overwrites itself: a notebook and the model see only its last state."""

    def __init__(self, text: str = "") -> None:
        """`text` is what it shows at the end if `show` was never called."""
        self._text = text
        self._next = 0.0

    def show(self, text: str) -> None:
        self._text = text
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PAUSE
            self._print("")

    def close(self) -> None:
        if self._text:
            self._print("\n")

    def _print(self, end: str) -> None:
        sys.stdout.write(f"\r{self._text}{end}")
        sys.stdout.flush()


class _MapProgress(ProgressLine):
    def __init__(self, total: int) -> None:
        self._total, self._done, self._failed = total, 0, 0
        super().__init__(self._counts() if total else "")

    def ended(self, *, ok: bool) -> None:
        self._done += ok
        self._failed += not ok
        self.show(self._counts())

    def _counts(self) -> str:
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"rlm.map: {self._done:,} of {self._total:,} done{failed}"
