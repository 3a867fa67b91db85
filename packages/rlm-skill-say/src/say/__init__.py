"""Say a text: the skill of the tests, with a parameter of every kind."""

from .say import run

__all__ = ["run"]
