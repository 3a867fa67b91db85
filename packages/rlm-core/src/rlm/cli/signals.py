"""What Ctrl-C and its kin do to a run: each cancels it, and cancelled while it closes it has no more patience."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from rlm.cli import exits

T = TypeVar("T")

CODES = {signal.SIGINT: exits.INTERRUPTED, signal.SIGTERM: exits.TERMINATED, signal.SIGHUP: exits.HUNG_UP}


class Interrupted(Exception):
    """A signal ended the run. `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Do the work until it is done or a signal comes: the first ends it in order, the next kills what is slow to end.

    The handlers stay until the loop is closed: whoever presses Ctrl-C three times still gets an orderly end.

    Raises:
        Interrupted: a signal ended it, after everything was closed.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    codes: list[int] = []

    def on(number: signal.Signals) -> None:
        codes.append(CODES[number])
        task.cancel()

    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and its kin
            loop.add_signal_handler(number, on, number)
    try:
        return await task
    except asyncio.CancelledError:
        if codes:
            raise Interrupted(codes[0]) from None
        raise
