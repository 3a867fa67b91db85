"""What a process gets from its parent without asking, and cannot work with."""

from __future__ import annotations

import os
import signal
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a command: the exit code is 128 and the signal's number."""


def end_on_signals() -> None:
    """Until something runs that must be closed in order, and again when it is closed: end at once, without a word.

    An exception would not do: raised in an import or a finalizer, it is swallowed, or printed with a traceback.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and the like
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def reset_signals() -> None:
    """Blocked signals, and an ignored SIGCHLD, survive exec: srun and mpirun start tasks with SIGCHLD blocked.

    With either, the end of a child is never noticed, or its exit code is lost. SIGHUP and SIGINT stay ignored if they
    are: nohup and `&` mean it.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
