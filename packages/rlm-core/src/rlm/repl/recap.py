"""A short summary of a session: its last tasks with their answers, and its agents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rlm.present.humanize import cost, many, tokens
from rlm.sessions.journal import read
from rlm.sessions.records import DropRecord, Journalled, MessageRecord
from rlm.sessions.store import SessionTree, read_tree
from rlm.sessions.transcript import TextItem, Turn, build
from rlm.text.clip import one_line

LAST = 2
"""Number of tasks that are shown when a session is resumed."""

_TASK = 60  # characters


@dataclass(frozen=True, slots=True)
class Exchange:
    """A task, and the agent's last text before the next task."""

    task: str
    answer: str = ""


def last_exchanges(folder: Path) -> list[Exchange]:
    """The last tasks of the session in `folder` that were not taken back, oldest first."""
    records = read(folder).records
    gone, exchanges, skipped = _taken_back(records), list[Exchange](), True
    for item in build(records):
        match item:
            case TextItem(kind="task"):
                if not (skipped := item.id in gone):
                    exchanges.append(Exchange(item.text))
            case Turn(text=text, number=number) if number and text.strip() and not skipped:
                exchanges[-1] = Exchange(exchanges[-1].task, text)
    return exchanges[-LAST:]


def _taken_back(records: Iterable[Journalled]) -> set[int]:
    """Ids of the messages that `/undo`, `/retry` or `/edit` dropped, as they were first journalled.

    A message that is joined to another one is journalled again, under another id.
    """
    first: dict[int, set[int]] = {}
    joined, gone = set[int](), set[int]()
    for record in records:
        match record:
            case DropRecord():
                ids = {id for each in record.ids for id in first.get(each, {each})}
                joined = ids if record.reason == "joined" else set()
                gone |= ids if record.reason == "taken_back" else set()
            case MessageRecord(anew=True):
                first[record.id] = joined
    return gone


def tree_lines(folder: Path) -> list[str]:
    """One line per agent, parents first."""
    return list(_lines(read_tree(folder), ""))


def _lines(agent: SessionTree, indent: str) -> Iterator[str]:
    meta = agent.meta
    spent = [many(meta.turns, "turn"), tokens(meta.tree_usage), *filter(None, [cost(meta.tree_usage)])]
    name = agent.folder.name if indent else "root"
    yield f"{indent}{name}  {meta.status}  {' · '.join(spent)}  {one_line(meta.prompt_preview, _TASK)}"
    for child in agent.children:
        yield from _lines(child, f"{indent}  ")
