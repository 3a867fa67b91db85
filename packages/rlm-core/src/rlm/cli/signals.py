"""What Ctrl-C and its kin do to a run: each cancels it, and cancelled while it closes it has no more patience."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from rlm.process.inherited import ENDING, end_on_signals

T = TypeVar("T")


class Interrupted(Exception):
    """A signal ended the run. `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Run the work on an event loop until it is done or a signal comes. Afterwards a signal ends us at once again.

    Raises:
        Interrupted: a signal ended it, after everything was closed.
    """
    try:
        return asyncio.run(_until_signal(work))
    finally:
        end_on_signals()


async def _until_signal(work: Coroutine[Any, Any, T]) -> T:
    """The first signal ends it in order, the next kills what is slow to end.

    The handlers stay until the loop is closed: whoever presses Ctrl-C three times still gets an orderly end.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    codes: list[int] = []

    def on(number: signal.Signals) -> None:
        codes.append(128 + number)
        task.cancel()

    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, on, number)
    try:
        return await task
    except asyncio.CancelledError:
        if codes:
            raise Interrupted(codes[0]) from None
        raise
