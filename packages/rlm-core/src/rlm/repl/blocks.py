"""Splits a streamed text into finished blocks of Markdown, so that printed text never changes. Pure."""

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
