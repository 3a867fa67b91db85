"""Signals: how a command ends on them, and the signal settings that a process inherits from its parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a command: the exit code is 128 plus the signal's number."""


def end_on_signals() -> None:
    """End at once and silently on a signal, before and after the time in which something must be closed in order.

    An exception would not work: in an import or a finalizer it is swallowed, or printed with a traceback.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and the like
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


async def until_ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Wait until tasks that are closed have ended. If a signal cancels this, cancel them: they skip grace periods.

    A terminal or an editor that goes away ends the input of a command first, and then sends a signal.

    Raises:
        CancelledError: a signal came. The tasks have ended then, too.
    """
    import asyncio  # late: `main` sets the handlers of signals before it is imported

    running = {task for task in tasks if not task.done()}
    if not running:
        return
    try:
        await asyncio.wait(running)
    except asyncio.CancelledError:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        raise


def reset_signals() -> None:
    """Unblock all signals and restore SIGCHLD: srun and mpirun start tasks with SIGCHLD blocked.

    Blocked signals and an ignored SIGCHLD survive exec. With either, the end of a child is not noticed, or its exit
    code is lost. An ignored SIGHUP or SIGINT stays ignored: nohup and `&` want that.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
