"""What other processes of the same user may know of this one."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

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
