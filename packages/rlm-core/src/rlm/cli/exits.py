"""The exit codes, as the commands know them; `rlm.stream` tells them, too."""

from rlm.core.exit_codes import (
    CREDENTIALS,
    DONE,
    FAILED,
    HUNG_UP,
    INTERRUPTED,
    LIMIT,
    TERMINATED,
    UNAVAILABLE,
    UNREAD,
    USAGE,
    of_error,
    of_stop,
    stop_of,
)

__all__ = [
    "CREDENTIALS",
    "DONE",
    "FAILED",
    "HUNG_UP",
    "INTERRUPTED",
    "LIMIT",
    "TERMINATED",
    "UNAVAILABLE",
    "UNREAD",
    "USAGE",
    "of_error",
    "of_stop",
    "stop_of",
]
