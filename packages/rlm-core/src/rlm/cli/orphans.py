"""What a run's commands leave behind that left its group and cleared its environment (`env -i setsid -f …`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rlm.inside import families

_PATIENCE = 2.0  # seconds for killed processes to vanish


@contextmanager
def ending_orphans() -> Iterator[None]:
    """Kill what is below this process at the end, on Linux: what loses its parent becomes our child.

    The command's own, not for a library: it cannot tell the run's processes from others that its program starts. For
    the same reason nothing is killed if this process had children before (`sleep 9 & exec rlm …`).
    """
    if _has_children():
        yield
        return
    families.adopt_orphans()
    try:
        yield
    finally:
        _end_all()


def _end_all() -> None:
    """Again and again: one that is killed may have started another a moment before."""
    end = time.monotonic() + _PATIENCE
    while _has_children() and time.monotonic() < end:
        families.kill(families.below(os.getpid()))
        time.sleep(0.001)
        _reap()


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
