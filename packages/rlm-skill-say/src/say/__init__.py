"""Say what one is told: the fixture of the tests, with a parameter of every kind."""

from .say import run

__all__ = ["run"]
