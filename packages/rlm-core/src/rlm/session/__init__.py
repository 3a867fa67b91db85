"""Sessions: what an agent did, kept so that it can be read, resumed and exported."""

from rlm.session.session import Session

__all__ = ["Session"]
