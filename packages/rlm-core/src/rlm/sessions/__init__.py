"""Sessions: the stored steps of an agent, to be read, resumed and exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm.sessions.common import Changes
    from rlm.sessions.session import Session

__all__ = ["Changes", "Session"]


def __getattr__(name: str) -> Any:
    """Import on demand: `rlm ls` and `rlm show` read sessions, and need no event loop."""
    if name in __all__:
        from rlm.sessions import session

        return getattr(session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
