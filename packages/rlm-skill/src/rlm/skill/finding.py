"""The findings of a check of a skill."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .names import printable


class Level(StrEnum):
    """The severity of a finding."""

    BROKEN = "broken"
    """The skill cannot be installed, imported or called: an installer refuses it."""
    INCOMPLETE = "incomplete"
    """The skill works but breaks the contract, so a model or a user gets less information than it needs."""
    ADVICE = "advice"
    """Nothing has to change."""

    @property
    def rank(self) -> int:
        """The rank of the level: 0 is the worst."""
        return list(Level).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a skill: what is wrong, where, and what to write instead."""

    level: Level
    path: Path
    wrong: str
    write: str
    line: int | None = None

    @property
    def where(self) -> str:
        """`file:line`, or the file alone, safe to print."""
        return printable(f"{self.path}:{self.line}" if self.line else str(self.path))

    def __str__(self) -> str:
        return f"{self.where}: {self.level}: {printable(self.wrong)}; write {printable(self.write)}"
