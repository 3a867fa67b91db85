"""Count the words of some texts."""

from .myskill import run

__all__ = ["run"]
