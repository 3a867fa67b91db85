"""The one table of exit codes."""

from __future__ import annotations

from rlm.core.budget import Stop
from rlm.errors import AgentError, ConfigError, CredentialsError, ModelUnavailable, RlmError

DONE, FAILED, USAGE, LIMIT, CREDENTIALS, UNAVAILABLE = 0, 1, 2, 3, 4, 75
INTERRUPTED, TERMINATED, HUNG_UP, UNREAD = 130, 143, 129, 141

_ERRORS: tuple[tuple[type[RlmError], int], ...] = (
    (ConfigError, USAGE),
    (CredentialsError, CREDENTIALS),
    (ModelUnavailable, UNAVAILABLE),
    (RlmError, FAILED),
)

_STATUS = {"done": DONE, "limit": LIMIT, "error": FAILED, "cancelled": INTERRUPTED}


def of_error(error: Exception) -> int:
    """The first row that fits; a refused sub-agent counts as the limit that refused it. What is not ours is a bug."""
    if isinstance(error, AgentError):
        return of_stop(Stop(error.stop))
    return next((code for kind, code in _ERRORS if isinstance(error, kind)), FAILED)


def of_stop(stop: Stop, *, limit_ok: bool = False) -> int:
    """`limit_ok`: to whoever asks, an answer at a limit is an answer."""
    return DONE if limit_ok and stop.status == "limit" else _STATUS[stop.status]


def stop_of(code: int) -> Stop:
    """Why there was not even a session."""
    return Stop.CANCELLED if code in (INTERRUPTED, TERMINATED, HUNG_UP, UNREAD) else Stop.ERROR
