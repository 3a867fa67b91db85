"""Text that arrives in pieces, printed so that no printed line changes: the agent's Markdown, and the output of cells.

Pure.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


class BlockReader:
    """Returns each block when it is finished: at a blank line, or at the end of a fence."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._fence = ""  # the opening fence, while one is open

    @property
    def unfinished(self) -> str:
        """The received text that is in no finished block yet."""
        return "\n".join([*self._lines, self._line])

    def feed(self, text: str) -> list[str]:
        """Add a piece of text, and return the blocks that it finishes."""
        *lines, rest = (self._line + text).split("\n")
        self._line = rest
        return [block for line in lines if (block := self._take(line))]

    def end(self) -> str:
        """Return the rest at the end of the text."""
        rest, self._fence = self.unfinished, ""
        self._lines, self._line = [], ""
        return rest.strip("\n")

    def _take(self, line: str) -> str:
        """Add a line; return the block that it ends, if any."""
        fence = _FENCE.fullmatch(line)
        if self._fence:
            closes = fence is not None and not fence[2].strip() and fence[1].startswith(self._fence)
            self._lines.append(line)
            return self._finish() if closes else ""
        if fence is not None:
            before = self._finish()
            self._fence = fence[1]
            self._lines.append(line)
            return before
        if line.strip():
            self._lines.append(line)
            return ""
        return self._finish()

    def _finish(self) -> str:
        block, self._lines, self._fence = "\n".join(self._lines), [], ""
        return block


# ---- the output of a cell: the first lines are printed at once, the rest is counted and can be printed later

HEAD, TAIL = 20, 3
"""Number of lines that are printed from the start and the end of a long output."""

KEPT = 4_000_000
"""Characters of an output that are kept for printing; of a longer one the end is kept."""

MARKS = 9
"""Number of outputs that can be printed: Alt and a digit selects one."""


class FoldableOutput:
    """The output of one cell. `feed` and `end` return the whole lines to print."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        self._size = 0
        self._printed = 0
        self._dropped = 0

    def feed(self, text: str) -> str:
        """Add text, and return the lines to print at once."""
        *lines, rest = (self._line + text).replace("\r\n", "\n").split("\n")
        self._line = _repainted(rest)[-KEPT:]
        self._keep([_repainted(line) for line in lines])
        if self.folds:
            return ""
        new = self._lines[self._printed : HEAD]
        self._printed += len(new)
        return "".join(f"{line}\n" for line in new)

    def end(self) -> str:
        """Return the last lines to print; if only a few are left, these are all of them."""
        if self._line:
            self.feed("\n")
        left = self._count() - self._printed
        shown = self._lines[-min(left, TAIL) :] if left else []
        if left <= TAIL:
            self._printed = self._count()
        return "".join(f"{line}\n" for line in shown)

    @property
    def begun(self) -> bool:
        """Whether any output has arrived."""
        return bool(self._line or self._lines or self._dropped)

    @property
    def folds(self) -> bool:
        """Whether new output is only counted, and not printed."""
        return self._printed >= HEAD or self._dropped > 0

    @property
    def hidden(self) -> int:
        """Number of lines that were never printed, without the last ones."""
        left = self._count() - self._printed
        return max(0, left - TAIL)

    def whole(self) -> str:
        """The whole output, as far as it is kept."""
        gone = f"[… {self._dropped:,} lines were dropped …]\n" if self._dropped else ""
        return gone + "".join(f"{line}\n" for line in self._lines)

    def _count(self) -> int:
        return self._dropped + len(self._lines)

    def _keep(self, lines: list[str]) -> None:
        self._lines += lines
        self._size += sum(len(line) for line in lines)
        if self._size > 2 * KEPT:  # only sometimes, not for each line
            kept = 0
            for count, line in enumerate(reversed(self._lines)):
                kept += len(line)
                if kept > KEPT:
                    self._dropped += len(self._lines) - count
                    self._lines = self._lines[len(self._lines) - count :]
                    break
            self._size = sum(len(line) for line in self._lines)


class FoldedOutputs:
    """The long outputs of a session, by number. A new one replaces the oldest."""

    def __init__(self) -> None:
        self._outputs: dict[int, FoldableOutput] = {}
        self._next = 1

    def add(self, output: FoldableOutput) -> int:
        """Add an output, and return its number."""
        number, self._next = self._next, self._next % MARKS + 1
        self._outputs[number] = output
        return number

    def get(self, number: int) -> str | None:
        """The whole of an output; None if there is none with this number."""
        output = self._outputs.get(number)
        return output.whole() if output else None


def _repainted(line: str) -> str:
    """The visible rest of a line after overwriting by carriage returns, as progress bars do."""
    return line.rstrip("\r").rpartition("\r")[2]
