"""Wait for a condition, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds after which a condition that is polled for is taken to never come true."""


def until(condition: Callable[[], object], otherwise: Callable[[], object] = lambda: "") -> None:
    """Wait until `condition()` holds.

    Raises:
        TimeoutError: it does not; with what `otherwise` tells.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(0.02)


async def eventually(condition: Callable[[], object]) -> None:
    """The same on an event loop. The suite's time limit ends it."""
    while not condition():
        await asyncio.sleep(0.02)
