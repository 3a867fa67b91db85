"""Unified diffs: those in the output of calls, to colour and count their lines, and the change of a call of `edit`.

The head of a hunk has its number of lines, so other text is not mistaken for a part of a diff. The format:
https://www.gnu.org/software/diffutils/manual/html_node/Detailed-Unified.html and git-diff(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rlm.present.humanize import many
from rlm.text.styled import Span, Style

if TYPE_CHECKING:
    from rlm.sessions.transcript import TranscriptCall


class DiffLine(StrEnum):
    """The type of a line. The value is its class in the exported page."""

    NONE = ""
    HEAD = "head"
    HUNK = "hunk"
    CONTEXT = "context"
    ADDED = "added"
    REMOVED = "removed"


_STYLES = {
    DiffLine.HEAD: Style.DIM,
    DiffLine.HUNK: Style.CYAN,
    DiffLine.CONTEXT: Style.PLAIN,
    DiffLine.ADDED: Style.GREEN,
    DiffLine.REMOVED: Style.RED,
}

_SIGNS = {"+": Style.GREEN, "-": Style.RED}

_HUNK = re.compile(r"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")
_HEAD = re.compile(
    r"index [0-9a-f]|(---|\+\+\+) |(old|new|deleted file|new file) mode \d|(dis)?similarity index \d"
    r"|(rename|copy) (from|to) |Binary files .* differ$|GIT binary patch$"
)
"""Lines that may come between `diff --git` and the hunks."""


@dataclass(slots=True)
class DiffReader:
    """Reads a text line by line, and counts the changes of the diffs in it."""

    files: int = 0
    added: int = 0
    removed: int = 0
    _old: int = 0
    """Remaining lines of the hunk: in the old file, and in the new one."""
    _new: int = 0
    _in_head: bool = False
    _named: str = ""
    """The last line that names a file of the hunk."""

    def read(self, line: str) -> DiffLine:
        """Read the next line of the text; return its type."""
        if self._old or self._new:
            if (kind := self._in_hunk(line)) is not DiffLine.NONE:
                return kind
            self._old = self._new = 0  # the hunk was truncated
        if not (hunk := _HUNK.match(line)):
            return self._outside(line)
        self._old, self._new = (int(1 if lines is None else lines) for lines in hunk.groups())
        self.files += self._named == "+++" or not self.files
        self._in_head, self._named = False, ""
        return DiffLine.HUNK

    def _in_hunk(self, line: str) -> DiffLine:
        match line[:1]:
            case "+" if self._new:
                self._new -= 1
                self.added += 1
                return DiffLine.ADDED
            case "-" if self._old:
                self._old -= 1
                self.removed += 1
                return DiffLine.REMOVED
            case " " | "" if self._old and self._new:  # some programs strip the blank of an empty line
                self._old -= 1
                self._new -= 1
                return DiffLine.CONTEXT
            case "\\":  # No newline at end of file
                return DiffLine.CONTEXT
            case _:
                return DiffLine.NONE

    def _outside(self, line: str) -> DiffLine:
        if line.startswith("diff --git "):
            self.files += 1
            self._in_head, self._named = True, ""
            return DiffLine.HEAD
        if self._in_head and _HEAD.match(line):
            return DiffLine.HEAD
        self._in_head = False
        self._named = line[:3] if line.startswith("--- ") or (self._named == "---" and line.startswith("+++ ")) else ""
        return DiffLine.NONE

    def __str__(self) -> str:
        """`diff: 3 files +10 −4`; empty if there was none."""
        return f"diff: {many(self.files, 'file')} +{self.added} −{self.removed}" if self.files else ""


def diff_summary(text: str) -> str:
    """`diff: 3 files +10 −4`, for the output of a call; empty if it is no diff."""
    if not has_diff(text):
        return ""
    reader = DiffReader()
    for line in text.split("\n"):
        reader.read(line)
    return str(reader)


def has_diff(text: str) -> bool:
    """Whether a text may contain a diff. Quick, because most texts contain none."""
    return "@@ -" in text or "diff --git " in text


def diff_lines(text: str) -> Iterator[tuple[DiffLine, str]]:
    """Yield the type of each line, and the line."""
    reader = DiffReader()
    return ((reader.read(line), line) for line in text.split("\n"))


def line_style(kind: DiffLine, other: Style = Style.PLAIN) -> Style:
    """The style of a line on a terminal; `other` is the style of a line outside any diff."""
    return _STYLES.get(kind, other)


# ---- the change of a call of `edit`

_COMPARED = 20_000
"""Maximum characters to compare; for longer texts all lines count as different, because a comparison is slow."""


def edit_diff(call: TranscriptCall) -> str:
    """The diff of a call; empty if the call is no edit, or lacks an argument."""
    return diff_of(call.values) if call.tool == "edit" else ""


def edit_size(arguments: dict[str, Any]) -> str:
    """`+4 −1`: the number of lines that the call changes."""
    lines = diff_of(arguments).split("\n")[2:]
    return " ".join(f"{sign}{sum(line.startswith(of) for line in lines)}" for sign, of in (("+", "+"), ("−", "-")))


def diff_of(arguments: dict[str, Any]) -> str:
    """The change that the arguments describe, without line numbers, which are unknown.

    Empty if an argument is missing.
    """
    path, old, new = (arguments.get(name) for name in ("path", "old_str", "new_str"))
    if not (isinstance(path, str) and isinstance(old, str) and isinstance(new, str)):
        return ""
    before, after = old.splitlines(), new.splitlines()
    if len(old) + len(new) > _COMPARED:
        lines = [*(f"-{line}" for line in before), *(f"+{line}" for line in after)]
    else:
        diff = list(unified_diff(before, after, n=max(len(before), len(after)), lineterm=""))
        lines = [line for line in diff[2:] if not line.startswith("@@")]
    return "\n".join([f"--- {path}", f"+++ {path}", *lines])


def painted_diff(diff: str) -> list[Span]:
    """The diff of an edit, with the colours of its lines."""
    lines = diff.split("\n")
    ends = ["\n"] * (len(lines) - 1) + [""]
    styles = [Style.DIM, Style.DIM, *(_SIGNS.get(line[:1], Style.PLAIN) for line in lines[2:])]
    return [Span(line + end, style) for line, end, style in zip(lines, ends, styles, strict=False)]
