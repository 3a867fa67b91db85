"""A short summary of a session: its last tasks with their answers, and its agents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlm.present.humanize import cost, many, tokens
from rlm.sessions.journal import read
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
    """The last tasks of the session in `folder`, oldest first."""
    exchanges: list[Exchange] = []
    for item in build(read(folder).records):
        match item:
            case TextItem(kind="task"):
                exchanges.append(Exchange(item.text))
            case Turn(text=text, number=number) if number and text.strip() and exchanges:
                exchanges[-1] = Exchange(exchanges[-1].task, text)
    return exchanges[-LAST:]


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
