"""Effects of Ctrl-C, SIGTERM and SIGHUP on a command that has resources to close.

Before and after that time, these signals end the process at once (`rlm.process.signals`); during it, everything is
closed first.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from rlm.cli import Interrupted
from rlm.process.signals import ENDING, end_on_signals

T = TypeVar("T")


@contextmanager
def closing_in_order() -> Iterator[None]:
    """Raise an exception on a signal in this block, so that everything opened here is closed."""
    for number in _handled_signals():
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        end_on_signals()


def run_until_signal(work: Coroutine[Any, Any, T], *, but: Collection[signal.Signals] = ()) -> T:
    """Run the coroutine on an event loop until it is done or a signal arrives; it handles the signals of `but` itself.

    A signal is held back while the loop is set up and closed: none is lost, and none hits a half-built loop.

    Raises:
        Interrupted: a signal ended the coroutine, and everything was closed.
    """
    handled = [number for number in _handled_signals() if number not in but]
    before = {number: signal.getsignal(number) for number in handled}
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        return asyncio.run(_until_signal(work, handled))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


async def _until_signal(work: Coroutine[Any, Any, T], handled: Iterable[signal.Signals]) -> T:
    """Run the coroutine. The first signal cancels it; the second kills what is slow to end."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    codes: list[int] = []

    def on(number: signal.Signals) -> None:
        codes.append(128 + number)
        task.cancel()

    for number in handled:
        loop.add_signal_handler(number, on, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    try:
        return await task
    except asyncio.CancelledError:
        if codes:
            raise Interrupted(codes[0]) from None
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def _handled_signals() -> list[signal.Signals]:
    """The signals to handle: all that are not already ignored (a program such as nohup does that)."""
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(128 + number)
