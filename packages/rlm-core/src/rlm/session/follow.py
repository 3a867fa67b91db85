"""`rlm show -f`: what a running session does, in the order in which it happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from rlm.session import journal
from rlm.session.codec import Record
from rlm.session.meta import Meta
from rlm.session.show import LINES, Edged, Shown
from rlm.session.store import SessionTree, child_names
from rlm.session.story import Turn, tell
from rlm.terminal import plain


class Follower:
    """Prints the records of a session and of all below it as their journals grow."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._root = folder
        self._console = console
        self._shown = Shown(LINES)
        self._read: Counter[Path] = Counter()  # bytes
        self._turns: Counter[Path] = Counter()

    def show_new(self) -> int:
        """Print what was journalled since the last call; how many records that were.

        Raises:
            SessionError: the session is gone.
        """
        new = sorted(self._new(self._root), key=lambda pair: pair[1]["ts"])
        for folder, record in new:
            name = "root" if folder == self._root else folder.name
            for part in self._parts(folder, record):
                self._console.print(Edged(part, "magenta", f"{name} "))
        return len(new)

    def _new(self, folder: Path) -> Iterator[tuple[Path, Record]]:
        reading = journal.read(folder, self._read[folder])
        self._read[folder] += reading.sound
        yield from ((folder, record) for record in reading.records)
        for name in child_names(folder):
            if (folder / name / journal.NAME).is_file():
                yield from self._new(folder / name)

    def _parts(self, folder: Path, record: Record) -> Iterator[RenderableType]:
        """A record by itself: what follows it is not known yet."""
        if record["type"] == "message" and record["message"]["role"] == "tool":
            yield self._shown.text(record["message"]["content"].rstrip(), "" if record["ok"] else "red")
        elif record["type"] == "agent_start":
            yield Text(f"{plain(record['folder'])} starts", "magenta")
        tree = SessionTree(folder, "", Meta(depth=0 if folder == self._root else 1), ())
        for item in tell([record]):
            if isinstance(item, Turn) and item.number:
                self._turns[folder] += 1
                item = replace(item, number=self._turns[folder])  # noqa: PLW2901 - the same one, counted
            yield from self._shown.item(item, tree)
