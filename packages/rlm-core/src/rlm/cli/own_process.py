"""What a run does to its own process: it hides its memory from others, and ends what its commands left behind."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from rlm.process import process_tree


@contextmanager
def ending_orphans() -> Iterator[None]:
    """Kill what is below this process at the end, on Linux: what loses its parent becomes our child.

    The command's own, not for a library: it cannot tell the run's processes from others that its program starts. For
    the same reason nothing is killed if this process had children before (`sleep 9 & exec rlm …`).
    """
    if _has_children():
        yield
        return
    process_tree.adopt_orphans()
    try:
        yield
    finally:
        if _has_children():  # which costs less than to look at all processes
            process_tree.kill_until_gone(partial(process_tree.below, os.getpid()), _reap)


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


_PR_SET_DUMPABLE = 4  # linux/prctl.h


def close_to_others(*, debug: bool) -> None:
    """Our environment and memory hold the credential: no process of this user shall read them, as a cell could.

    PR_SET_DUMPABLE in prctl(2): /proc/PID becomes root's, and no debugger can attach; RLM_DEBUG=1 leaves it open. What
    we start is not concerned. From root nothing can be kept: there it would only be in the way.
    """
    if os.geteuid() == 0 or debug:
        return
    with suppress(AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
