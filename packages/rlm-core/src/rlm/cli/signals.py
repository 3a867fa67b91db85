"""What Ctrl-C and its kin do to a run: the first one ends it in order, a second one soon after by force."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rlm.cli import exits

T = TypeVar("T")

SOON = 2.0
"""Seconds within which a second signal means force."""

CODES = {signal.SIGINT: exits.INTERRUPTED, signal.SIGTERM: exits.TERMINATED, signal.SIGHUP: exits.HUNG_UP}


class Interrupted(Exception):
    """A signal ended the run. `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def until_signal(work: Coroutine[Any, Any, T], force: Callable[[], None]) -> T:
    """Do the work; the first signal cancels it, a second one soon after calls `force`.

    Raises:
        Interrupted: a signal ended it, after everything was closed.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    codes: list[int] = []
    last = float("-inf")

    def on(number: signal.Signals) -> None:
        nonlocal last
        now = loop.time()
        if codes and now - last <= SOON:
            force()
        last = now
        codes.append(CODES[number])
        task.cancel()

    for number in CODES:
        loop.add_signal_handler(number, on, number)
    try:
        return await task
    except asyncio.CancelledError:
        if codes:
            raise Interrupted(codes[0]) from None
        raise
    finally:
        for number in CODES:
            loop.remove_signal_handler(number)
