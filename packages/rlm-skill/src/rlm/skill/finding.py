"""What a check of a skill has to say."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .names import printable
from .plain import read_plain

LARGEST = 4_000_000  # bytes: more is no source file, and an installer should not read it


class Level(StrEnum):
    """How bad a finding is."""

    BROKEN = "broken"
    """The skill could not be installed, imported or called: an installer refuses it."""
    INCOMPLETE = "incomplete"
    """It works, but the contract is not kept, so a model or a user gets less information than it needs."""
    ADVICE = "advice"
    """Nothing has to change."""

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Level).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a skill: what, where, and what to write instead."""

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


def read_text(path: Path) -> str:
    """Read a text file as UTF-8, with or without a byte-order mark.

    Raises:
        OSError: If it cannot be read, is no plain file, or larger than any source file.
        UnicodeDecodeError: If it is not UTF-8.
    """
    return read_bytes(path).decode("utf-8-sig")


def read_bytes(path: Path) -> bytes:
    """Read a source file.

    Raises:
        OSError: If it cannot be read, is no plain file, or larger than any source file.
    """
    return read_plain(path, LARGEST)
