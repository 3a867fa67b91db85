"""Sessions: what an agent did, kept so that it can be read, resumed and exported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm.session.session import Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    """`Session` only when it is wanted: `rlm ls` and `rlm show` read sessions, and need no event loop."""
    if name == "Session":
        from rlm.session.session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
