"""What time it is for a session. Somebody may set the system's clock; the times in a session go on as time does."""

from __future__ import annotations

import time
from collections.abc import Callable

_PASSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps, on Linux


def steady() -> Callable[[], float]:
    """Seconds since 1970: by the system's clock as it stands now, and by what passes from here on."""
    began = time.time() - time.clock_gettime(_PASSED)
    return lambda: began + time.clock_gettime(_PASSED)
