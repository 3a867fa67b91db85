"""Find, list and read sessions. Reading never writes, and never fails on a line that is torn."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path

from rlm.errors import SessionError
from rlm.session import journal
from rlm.session import meta as metas
from rlm.session.codec import Record
from rlm.session.journal import Reader
from rlm.session.meta import Meta, preview, settled
from rlm.session.tally import Subtree, Tally

ID = re.compile(r"[0-9a-f]{12}")
CHILD = re.compile(r"sub-[0-9a-f]{8}")
_PREFIX = re.compile(r"[0-9a-f]{1,12}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A session as `rlm ls` shows it; its status is a true one."""

    folder: Path
    meta: Meta


@dataclass(frozen=True)
class SessionTree:
    """A session and all below it. It holds no records: they are read from the journal whenever they are wanted."""

    folder: Path
    agent: str
    meta: Meta
    children: tuple[SessionTree, ...] = ()

    def records(self) -> Reader:
        """Of this agent alone, in order."""
        return journal.reader(self.folder)

    def walk(self) -> Iterator[SessionTree]:
        """This one and all below it, parents first."""
        rest: list[SessionTree] = [self]
        while rest:
            yield (tree := rest.pop())
            rest += reversed(tree.children)

    def child(self, folder: str) -> SessionTree | None:
        return self._by_name.get(folder)

    @cached_property
    def _by_name(self) -> dict[str, SessionTree]:
        return {child.folder.name: child for child in self.children}


def list_sessions(home: Path) -> list[Listed]:
    """All sessions of `home`, the one used last first."""
    found = [listed for name in session_names(home / "sessions") if (listed := _listed(home / "sessions" / name))]
    return sorted(found, key=lambda listed: listed.meta.updated_time, reverse=True)


def find(home: Path, wanted: str | None = None) -> Path:
    """The folder of the session with this id, or the only one whose id begins so; without one, of the newest.

    Raises:
        SessionError: there is none, or more than one.
    """
    return _by_id(home / "sessions", wanted.lower()) if wanted else _newest(home)


def _newest(home: Path) -> Path:
    sessions = list_sessions(home)
    if not sessions:
        raise SessionError(f'There is no session in {home / "sessions"} yet. `rlm "task"` makes one.')
    return sessions[0].folder


def _by_id(sessions: Path, wanted: str) -> Path:
    if not _PREFIX.fullmatch(wanted):
        raise SessionError(f"{wanted!r} is no session id: an id is up to twelve hex digits. `rlm ls` lists them.")
    names = [name for name in session_names(sessions) if name.startswith(wanted)]
    if not names:
        raise SessionError(f"There is no session {wanted} in {sessions}. `rlm ls` lists those that are there.")
    if len(names) > 1:
        some = ", ".join(sorted(names)[:5]) + (", …" if len(names) > 5 else "")
        raise SessionError(f"{len(names)} sessions begin with {wanted}: {some}. Give more of the id.")
    return sessions / names[0]


def read_tree(folder: Path, agent: str = "root") -> SessionTree:
    """A session and all below it.

    Raises:
        SessionError: the folder holds no session.
    """
    journal.opened(folder).close()
    names = [name for name in child_names(folder) if (folder / name / journal.NAME).is_file()]
    children = [read_tree(folder / name, f"{agent}/{name}") for name in names]
    if len(children) > 1:
        order = {record["folder"]: record["id"] for record in journal.found(folder, "agent_start")}
        children.sort(key=lambda child: (order.get(child.folder.name, inf), child.meta.start_time))
    return SessionTree(folder, agent, settled(meta_of(folder), folder), tuple(children))


def session_names(sessions: Path) -> list[str]:
    """The folders of sessions in this one; none if it is not there."""
    return _names(sessions, ID)


def child_names(folder: Path) -> list[str]:
    """The folders of sub-agents in a session folder."""
    return _names(folder, CHILD)


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if pattern.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _listed(folder: Path) -> Listed | None:
    try:
        return Listed(folder, settled(meta_of(folder), folder))
    except SessionError:
        return None  # killed before it had begun


def meta_of(folder: Path) -> Meta:
    """meta.json as it is; told again from the journal where it is lost.

    Raises:
        SessionError: the folder holds no session.
    """
    try:
        return metas.read(folder)
    except SessionError:
        return _remade(folder, journal.reader(folder))


def _remade(folder: Path, records: Iterable[Record]) -> Meta:
    tally = Tally()
    first, model, task = 0.0, "", ""
    last = first
    for record in records:
        tally.add(record)
        first, last = first or record["ts"], record["ts"]
        model = model or _model(record)
        task = task or _task(record)
    return Meta(
        folder.name.removeprefix("sub-"),
        start_time=first,
        updated_time=last,
        model=model,
        prompt_preview=preview(task),
        status=tally.status,
        stop_reason=tally.stop_reason,
        end_time=tally.end_time,
        answer_preview=preview(tally.answer),
        turns=tally.turns,
        usage=tally.usage,
        tree_usage=tally.usage,
        metrics=tally.metrics(Subtree(), 0),
    )


def _model(record: Record) -> str:
    return str(record["model"]) if record["type"] == "request" else ""


def _task(record: Record) -> str:
    said = record["type"] == "message" and record["message"]["role"] == "user"
    return str(record["message"]["content"]) if said else ""
