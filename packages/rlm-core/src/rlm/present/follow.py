"""`rlm show -f`: print the events of a running session in their order."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rlm.present.show import LINES, Block, Inset, TreeRenderer, described, draw
from rlm.sessions import journal
from rlm.sessions.meta import Meta
from rlm.sessions.records import AgentStartRecord, Journalled, MessageRecord
from rlm.sessions.store import SessionTree, child_names
from rlm.sessions.transcript import Turn, build
from rlm.text.styled import Canvas, Span, Style

BATCH = 64_000
"""Maximum bytes of a journal per read. Memory holds this much per agent, and no file stays open."""


class Follower:
    """Prints the records of a session and of all agents below it as their journals grow."""

    def __init__(self, folder: Path, canvas: Canvas, *, whole: bool = False) -> None:
        """`whole`: outputs are not truncated."""
        self._root = folder
        self._canvas = canvas
        self._shown = TreeRenderer(None if whole else LINES, color=canvas.color)
        self._read: Counter[Path] = Counter()  # bytes read of each journal
        self._turns: defaultdict[Path, list[int]] = defaultdict(list)

    def show_new(self) -> int:
        """Print the records written since the last call; return their number.

        Raises:
            SessionError: the session was removed.
        """
        journals = [self._new(folder) for folder in self._grown()]
        shown = 0
        for folder, record in heapq.merge(*journals, key=lambda pair: pair[1].ts):
            name = "root" if folder == self._root else folder.name
            draw(self._parts(folder, record), self._canvas, [Span(f"{name} ", Style.MAGENTA)])
            shown += 1
        return shown

    def _grown(self) -> Iterator[Path]:
        """The agents whose journals have unread bytes."""
        rest = [self._root]
        while rest:
            folder = rest.pop()
            rest += (folder / name for name in child_names(folder))
            if folder == self._root or journal.size(folder) > self._read[folder]:
                yield folder

    def _new(self, folder: Path) -> Iterator[tuple[Path, Journalled]]:
        while (reading := journal.read(folder, self._read[folder], BATCH)).records:
            self._read[folder] += reading.valid
            yield from ((folder, record) for record in reading.records)

    def _parts(self, folder: Path, record: Journalled) -> Iterator[Block | Inset]:
        """Format a single record; the records after it are not known yet."""
        turns = self._turns[folder]
        match record:
            case MessageRecord(message={"role": "tool", "content": str(content)}):
                yield self._shown.text(content.rstrip(), Style.PLAIN if record.ok else Style.RED)
            case AgentStartRecord():
                yield from described(record, turns)
        tree = SessionTree(folder, "", Meta(depth=0 if folder == self._root else 1))
        for item in build([record]):
            if isinstance(item, Turn) and item.number:
                turns.append(item.id)
                item = replace(item, number=len(turns))  # noqa: PLW2901 - the same item, with its number
            yield from self._shown.item(item, tree, turns)
