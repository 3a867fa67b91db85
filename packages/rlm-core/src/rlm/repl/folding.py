"""Long outputs: the first lines are printed as they come, the rest is counted and can be printed whole. Pure."""

from __future__ import annotations

HEAD, TAIL = 20, 3
"""Lines that are printed of a long output."""

KEPT = 4_000_000
"""Characters of an output that can be printed whole; of a longer one, the end."""

MARKS = 9
"""Outputs that can be printed: Alt and a digit chooses."""


class Output:
    """The output of one cell. What `feed` and `end` return is to be printed, whole lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._size = 0
        self._printed = 0
        self._dropped = 0

    def feed(self, text: str) -> str:
        """What is to be printed at once."""
        *lines, rest = (self._line + text).replace("\r\n", "\n").split("\n")
        self._line = _repainted(rest)[-KEPT:]
        self._keep([_repainted(line) for line in lines])
        if self.folds:
            return ""
        new = self._lines[self._printed : HEAD]
        self._printed += len(new)
        return "".join(f"{line}\n" for line in new)

    def end(self) -> str:
        """The last lines, if few have not been printed."""
        if self._line:
            self.feed("\n")
        left = self._count() - self._printed
        shown = self._lines[-min(left, TAIL) :] if left else []
        if left <= TAIL:
            self._printed = self._count()
        return "".join(f"{line}\n" for line in shown)

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._line or self._lines or self._dropped)

    @property
    def folds(self) -> bool:
        """Whether what comes now is counted, and not printed."""
        return self._printed >= HEAD or self._dropped > 0

    @property
    def hidden(self) -> int:
        """Lines that were never printed, but for the last ones."""
        left = self._count() - self._printed
        return max(0, left - TAIL)

    def whole(self) -> str:
        gone = f"[… {self._dropped:,} lines are not kept …]\n" if self._dropped else ""
        return gone + "".join(f"{line}\n" for line in self._lines)

    def _count(self) -> int:
        return self._dropped + len(self._lines)

    def _keep(self, lines: list[str]) -> None:
        self._lines += lines
        self._size += sum(len(line) for line in lines)
        if self._size > 2 * KEPT:  # now and then, not with each line
            kept = 0
            for count, line in enumerate(reversed(self._lines)):
                kept += len(line)
                if kept > KEPT:
                    self._dropped += len(self._lines) - count
                    self._lines = self._lines[len(self._lines) - count :]
                    break
            self._size = sum(len(line) for line in self._lines)


class Folded:
    """The long outputs of a session, by number. A new one takes the place of the oldest."""

    def __init__(self) -> None:
        self._outputs: dict[int, Output] = {}
        self._next = 1

    def add(self, output: Output) -> int:
        """Its number."""
        number, self._next = self._next, self._next % MARKS + 1
        self._outputs[number] = output
        return number

    def get(self, number: int) -> str | None:
        output = self._outputs.get(number)
        return output.whole() if output else None


def _repainted(line: str) -> str:
    """What is left of a line that was painted over, as progress bars do."""
    return line.rstrip("\r").rpartition("\r")[2]
