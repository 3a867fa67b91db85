"""Functions that wait for a condition, never for a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TIMEOUT = 120.0
"""Seconds after which a polled condition counts as failed."""


def until(condition: Callable[[], object], otherwise: Callable[[], object] = lambda: "") -> None:
    """Wait until `condition()` holds.

    Raises:
        TimeoutError: it does not hold in time; the message contains the result of `otherwise`.
    """
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(0.02)


async def run_ready_tasks() -> None:
    """Let the event loop run until tasks that wait for nothing outside of it have advanced."""
    for _ in range(5):
        await asyncio.sleep(0)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition()` holds, on an event loop. The suite's time limit ends it."""
    while not condition():
        await asyncio.sleep(0.02)
