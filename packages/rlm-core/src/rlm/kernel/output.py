"""What a kernel printed and showed: cleaned, bounded, pictures saved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm.kernel.render import Display, Picture
from rlm.process import files
from rlm.text.bounded import BoundedOutput, Cleaner, Quota, create

Listener = Callable[[str], None]

PICTURES = 100
"""Saved of one cell: each is a file, and a hostile kernel could show millions."""
UPDATED = 1_000
"""Displays of one cell that are shown as they look last; more are shown as they come."""
_LARGE = 1 << 16  # characters of such a display that are kept until then

_MOST = 200  # lines of a traceback that are shown
_HEAD = 60  # of them
_WIDEST = 2_000  # characters of a line of source in it


def save(picture: Picture, folder: Path, stem: str, quota: Quota | None = None) -> Path | str:
    """Where the picture is, or why it is nowhere."""
    return _save(picture.data, folder, f"{stem}.{picture.ending}", quota)


def _save(data: bytes, folder: Path, name: str, quota: Quota | None) -> Path | str:
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
    """Collects. `listener` gets each finished piece of text."""

    def __init__(
        self, limit: int, folder: Path, name: str, listener: Listener | None = None, quota: Quota | None = None
    ) -> None:
        self.name = name
        self._folder = folder
        self._cleaner = Cleaner()
        self._text = BoundedOutput(limit, folder, f"{name}.txt", quota)
        self._quota = quota
        self._listener = listener
        self._again: dict[str, tuple[str, Path | str]] = {}  # displays that were updated: what they show last
        self._before = ""
        self._clearing = False
        self.pictures: list[Path] = []
        self.tables: list[tuple[int, int]] = []
        """Rows and columns of each that was shown."""
        self._saved = 0

    def save(self, picture: Picture, folder: Path) -> Path | str:
        """Where the picture is, or why it is nowhere. Perhaps in a thread, one at a time."""
        if self._saved >= PICTURES:
            return f"not saved: a cell has {PICTURES} at most"
        self._saved += 1
        return save(picture, folder, self.name, self._quota)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._text.close()

    def __len__(self) -> int:
        return len(self._text)

    def begin(self) -> None:
        """The cell begins: what is there already it cannot clear."""
        self._before = self.text() if len(self) else ""

    def write(self, text: str) -> None:
        self._clear_if_due()
        self._pass_on(self._cleaner.write(text))

    def line(self, text: str) -> None:
        """`text` on lines of its own."""
        self._clear_if_due()
        self._pass_on(self._cleaner.close())
        if len(self._text) and not self._text.ends_line:
            self._pass_on("\n")
        self.write(text if text.endswith("\n") else f"{text}\n")

    def show(self, display: Display, saved: Path | str) -> None:
        self._clear_if_due()
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
        """Its HTML, in a file that exports find by its text."""
        bundle = json.dumps({"text/plain": display.text, "text/html": display.html})
        _save(bundle.encode(), self._folder, f"{self.name}-table.json", self._quota)

    def error(self, traceback: str) -> None:
        """A traceback. Of a long one head and tail, and the whole in a file."""
        shown = _shortened(traceback)
        if shown != traceback:
            saved = _save(traceback.encode(errors="replace"), self._folder, f"{self.name}-traceback.txt", self._quota)
            shown = f"{shown}[the whole traceback: {saved}]\n"
        if shown:
            self.line(shown)

    def clear(self, *, wait: bool) -> None:
        """IPython's clear_output. `wait`: when something else comes."""
        self._clearing = True
        if not wait:
            self._clear_if_due()

    def text(self) -> str:
        """Everything so far. Of displays that were updated, the last state comes at the end."""
        for text, _ in self._again.values():
            self.line(text)
        self._again.clear()
        self._pass_on(self._cleaner.close())
        return self._text.text()

    def _clear_if_due(self) -> None:
        if not self._clearing:
            return
        self._clearing = False
        self._cleaner.close()
        self._again.clear()
        for path in list(self.pictures):
            self._forget(path)
        self.tables.clear()
        self._text.clear()
        self._text.write(self._before)

    def _forget(self, picture: Path | str) -> None:
        """One that something else was shown in the place of: an animation would leave thousands."""
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
    """Its first and last lines; lines of source (they are indented, numbered or marked) not longer than a paragraph."""
    lines = [_cut(line) for line in traceback.split("\n")]
    left_out = len(lines) - _MOST
    if left_out > 1:
        lines[_HEAD : _HEAD + left_out] = [f"[… {left_out:,} lines left out …]"]
    return "\n".join(lines)


def _cut(line: str) -> str:
    if len(line) <= _WIDEST or line[0].isalpha():  # the message of the error is shown in full
        return line
    return f"{line[:_WIDEST]} [… {len(line) - _WIDEST:,} characters left out …]"
