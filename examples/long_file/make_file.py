"""Writes the log of a help desk: 50 MB, the same each time. `python make_file.py log.txt`

Most lines are routine. A few hundred, spread over the whole file, are complaints in people's own words.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

SIZE = 50_000_000
"""Minimum size in bytes."""

_ROUTINE = ("signed in", "opened the catalogue", "renewed a loan", "signed out", "changed a reminder", "paid a fee")
_COMPLAINTS = {
    "printer": ("the printer on floor 2 eats every second page", "printed ten pages, got four, again"),
    "heating": ("it is freezing in the reading room", "I read with my coat on, please heat"),
    "reminder": ("your reminder came a week after the book was due", "fined although no reminder ever came"),
    "noise": ("the gate squeaks all day long", "could somebody oil that gate, it howls"),
}
_SHARES = ("printer",) * 2 + ("heating",) * 3 + ("reminder",) * 5 + ("noise",) * 1


def lines(seed: int = 7) -> Iterator[str]:
    """Yield the lines of the log."""
    dice = random.Random(seed)
    written = number = 0
    while written < SIZE:
        number += 1
        reader = f"reader-{int(dice.random() * 5000):04d}"
        if dice.random() < 0.0005:
            subject = _SHARES[int(dice.random() * len(_SHARES))]
            said = _COMPLAINTS[subject][int(dice.random() * 2)]
            line = f"{number:09d} {reader} wrote: {said}\n"
        else:
            line = f"{number:09d} {reader} {_ROUTINE[int(dice.random() * len(_ROUTINE))]} at desk {number % 40}\n"
        written += len(line)
        yield line


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w") as file:
        file.writelines(lines())
