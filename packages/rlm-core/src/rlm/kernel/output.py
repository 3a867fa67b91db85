"""The output of a cell: cleaned and bounded text, and saved pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rlm.kernel.render import Display, Picture
from rlm.process import files
from rlm.text.bounded import BoundedOutput, Cleaner, Quota, create

Listener = Callable[[str], None]

PICTURES = 100
"""Maximum pictures that are saved for one cell: each is a file, and a hostile kernel could show millions."""

_MOST = 200  # maximum lines of a traceback that are shown
_HEAD = 60  # how many of these lines come from the start of the traceback
_WIDEST = 2_000  # maximum characters of a line of source in a traceback


def _save(data: bytes, folder: Path, name: str, quota: Quota | None) -> Path | str:
    """Save a file. Return its path, or the reason why it was not saved."""
    try:
        if quota is not None:
            quota.take(0, len(data))
        path, handle = create(folder, name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        return f"not saved: {error.strerror or error}"
    return path


class CellOutput:
    """Collect the output of a cell. `listener` gets each piece of cleaned text."""

    def __init__(
        self, limit: int | None, folder: Path, name: str, listener: Listener | None = None, quota: Quota | None = None
    ) -> None:
        self.name = name
        self._folder = folder
        self._cleaner = Cleaner()
        self._text = BoundedOutput(limit, folder, f"{name}.txt", quota)
        self._quota = quota
        self._listener = listener
        self._again: dict[str, tuple[str, Path | str]] = {}  # updated displays, each with its last text and picture
        self._before = ""
        self._start = 0  # the length of the text when the cell began
        self._clearing = False
        self.pictures: list[Path] = []
        self.tables: list[tuple[int, int]] = []
        """Rows and columns of each table that was shown."""
        self._saved = 0

    def save(self, picture: Picture, folder: Path) -> Path | str:
        """Save a picture. Return its path, or the reason why it was not saved.

        It can run in a thread, for one picture at a time.
        """
        if self._saved >= PICTURES:
            return f"not saved: at most {PICTURES} pictures per cell are saved"
        self._saved += 1
        return _save(picture.data, folder, f"{self.name}.{picture.ending}", self._quota)

    def close(self) -> None:
        self._text.close()

    @property
    def empty(self) -> bool:
        """True if nothing was written since `begin`. An unfinished line counts after a call of `text`."""
        return self._text.length == self._start

    def begin(self) -> None:
        """Mark the start of the cell: the cell cannot clear the output before this point."""
        self._before = self.text() if self._text.length else ""
        self._start = self._text.length

    def write(self, text: str) -> None:
        if self._clearing:
            self._clear()
        self._pass_on(self._cleaner.write(text))

    def line(self, text: str) -> None:
        """Write `text` on separate lines."""
        if self._clearing:
            self._clear()
        self._pass_on(self._cleaner.close())
        if not self._text.at_line_start:
            self._pass_on("\n")
        self._pass_on(self._cleaner.write(text if text.endswith("\n") else f"{text}\n"))

    def show(self, display: Display, saved: Path | str) -> None:
        if self._clearing:
            self._clear()
        text = display.text
        if display.picture is not None:
            text = f"{text}\n[picture: {saved}]" if text else f"[picture: {saved}]"
        if isinstance(saved, Path):
            self.pictures.append(saved)
        elif display.table and len(self.tables) < PICTURES and not display.again:
            self.tables.append(display.table)
            if display.html:
                self._keep_table(display)
        if display.again:
            self._forget(self._again.get(display.id, ("", ""))[1])
            self._again[display.id] = (text, saved)
        elif text:
            self.line(text)

    def _keep_table(self, display: Display) -> None:
        """Save the table's HTML in a file. Exports find the file by the text of the table."""
        bundle = json.dumps({"text/plain": display.text, "text/html": display.html})
        _save(bundle.encode(), self._folder, f"{self.name}-table.json", self._quota)

    def error(self, traceback: str) -> None:
        """Write a traceback. If it is long, write its first and last lines, and save the whole traceback in a file."""
        shown = _shortened(traceback)
        if shown != traceback:
            saved = _save(traceback.encode(errors="replace"), self._folder, f"{self.name}-traceback.txt", self._quota)
            shown = f"{shown}[the full traceback: {saved}]\n"
        if shown:
            self.line(shown)

    def clear(self, *, wait: bool) -> None:
        """Do IPython's clear_output. With `wait`, clear only when the next output comes."""
        if wait:
            self._clearing = True
        else:
            self._clear()

    def text(self) -> str:
        """Return all output so far. The last state of each updated display is at the end."""
        for text, _ in self._again.values():
            self.line(text)
        self._again.clear()
        self._pass_on(self._cleaner.close())
        return self._text.text()

    def _clear(self) -> None:
        self._clearing = False
        self._cleaner.close()
        self._again.clear()
        for path in list(self.pictures):
            self._forget(path)
        self.tables.clear()
        self._text.clear()
        self._text.write(self._before)
        self._start = self._text.length

    def _forget(self, picture: Path | str) -> None:
        """Remove a picture that a later one has replaced: an animation would leave thousands."""
        if isinstance(picture, Path):
            self.pictures.remove(picture)
            with suppress(OSError):
                files.remove(picture)

    def _pass_on(self, text: str) -> None:
        if text:
            self._text.write(text)
            if self._listener is not None:
                self._listener(text)


def _shortened(traceback: str) -> str:
    """Shorten a traceback to its first and last lines, and truncate its long lines of source.

    Lines of source are indented, numbered or marked.
    """
    lines = [_cut(line) for line in traceback.split("\n")]
    left_out = len(lines) - _MOST
    if left_out > 1:
        lines[_HEAD : _HEAD + left_out] = [f"[… {left_out:,} lines left out …]"]
    return "\n".join(lines)


def _cut(line: str) -> str:
    if len(line) <= _WIDEST or line[0].isalpha():  # the message of the error is shown in full
        return line
    return f"{line[:_WIDEST]} [… {len(line) - _WIDEST:,} characters left out …]"
