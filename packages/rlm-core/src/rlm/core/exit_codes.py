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
    """Return the code of the first row that fits, FAILED for an exception of another library (a bug).

    A refused sub-agent counts as the limit that refused it.
    """
    if isinstance(error, AgentError):
        return of_stop(Stop(error.stop))
    return next((code for kind, code in _ERRORS if isinstance(error, kind)), FAILED)


def of_stop(stop: Stop, *, limit_ok: bool = False) -> int:
    """Return the exit code of a stop. `limit_ok`: the caller accepts an answer at a limit as success."""
    return DONE if limit_ok and stop.status == "limit" else _STATUS[stop.status]


def stop_of(code: int) -> Stop:
    """Return the stop of a run that ended before it had a session."""
    return Stop.CANCELLED if code in (INTERRUPTED, TERMINATED, HUNG_UP, UNREAD) else Stop.ERROR
