"""What a kernel printed and showed: cleaned, bounded, pictures saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm.kernel.render import Display, Picture
from rlm.spool import Cleaner, Spool, create

Listener = Callable[[str], None]


def save(picture: Picture, folder: Path, stem: str) -> Path | str:
    """Where the picture is, or why it is nowhere."""
    try:
        path, handle = create(folder, f"{stem}.{picture.ending}")
        with os.fdopen(handle, "wb") as file:
            file.write(picture.data)
    except OSError as error:
        return f"not saved: {error.strerror or error}"
    return path


class Printout:
    """Collects. `listener` gets each finished piece of text."""

    def __init__(self, limit: int, folder: Path, name: str, listener: Listener | None = None) -> None:
        self.name = name
        self._cleaner = Cleaner()
        self._spool = Spool(limit, folder, f"{name}.txt")
        self._listener = listener
        self._again: dict[str, str] = {}  # displays that were updated: what they show last
        self.pictures: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._spool.close()

    def __len__(self) -> int:
        return len(self._spool)

    def write(self, text: str) -> None:
        self._pass_on(self._cleaner.write(text))

    def line(self, text: str) -> None:
        """`text` on lines of its own."""
        self._pass_on(self._cleaner.close())
        if len(self._spool) and not self._spool.ends_line:
            self._pass_on("\n")
        self.write(text if text.endswith("\n") else f"{text}\n")

    def show(self, display: Display, saved: Path | str) -> None:
        text = display.text
        if display.picture is not None:
            text = f"{text}\n[picture: {saved}]" if text else f"[picture: {saved}]"
        if isinstance(saved, Path):
            self.pictures.append(saved)
        if display.again:
            self._again[display.id] = text
        elif text:
            self.line(text)

    def text(self) -> str:
        """Everything so far. Of displays that were updated, the last state comes at the end."""
        for text in self._again.values():
            self.line(text)
        self._again.clear()
        self._pass_on(self._cleaner.close())
        return self._spool.text()

    def _pass_on(self, text: str) -> None:
        if text:
            self._spool.write(text)
            if self._listener is not None:
                self._listener(text)
