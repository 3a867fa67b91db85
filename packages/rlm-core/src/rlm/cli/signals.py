"""What Ctrl-C, SIGTERM and SIGHUP do to a command that has something to close.

Before and after, they end the process at once (`rlm.process.signals`); in between, nothing is left half done.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from rlm.process.signals import ENDING, end_on_signals

T = TypeVar("T")


class Interrupted(Exception):
    """A signal ended the run. `code` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def closing_in_order() -> Iterator[None]:
    """What is opened in here is closed: a signal is an exception, as Ctrl-C is in any Python program."""
    for number in _handled_signals():
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        end_on_signals()


def run_until_signal(work: Coroutine[Any, Any, T], *, but: Collection[signal.Signals] = ()) -> T:
    """Run the work on an event loop until it is done or a signal comes, `but` for those that the work heeds itself.

    A signal waits while the loop is set up and taken down: none is lost, and none hits a loop that is half there.

    Raises:
        Interrupted: a signal ended it, after everything was closed.
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
    """The first signal ends it in order, the next kills what is slow to end."""
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
    """All but those that a program such as nohup makes us ignore."""
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(128 + number)
