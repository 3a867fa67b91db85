"""Lists and reads sessions. Reading never writes, and never fails on a torn line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path

from rlm.errors import SessionError
from rlm.process import files
from rlm.sessions import journal
from rlm.sessions import meta as metas
from rlm.sessions.journal import Reader
from rlm.sessions.meta import RUNNING, Meta, preview, with_true_status
from rlm.sessions.metrics import SessionMetrics, SubtreeMetrics
from rlm.sessions.records import AgentStartRecord, Journalled, MessageRecord, RequestRecord
from rlm.sessions.signature import Signer
from rlm.sessions.signing_key import SigningKey

ID = re.compile(r"[0-9a-f]{12}")
CHILD = re.compile(r"sub-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session as `rlm ls` shows it, with its true status.

    `foreign`: its meta.json is not signed by this user. A session that is not foreign can still have a forged journal.
    """

    sessions: Path
    name: str
    meta: Meta
    foreign: bool = True

    @property
    def folder(self) -> Path:
        """Created on demand: a list of thousands needs no paths."""
        return self.sessions / self.name


@dataclass(frozen=True)
class SessionTree:
    """A session and all sessions below it. It holds no records: they are read from the journal when needed."""

    folder: Path
    agent: str
    meta: Meta
    children: tuple[SessionTree, ...] = ()

    def records(self) -> Reader:
        """Return a reader of the records of this agent only, in order."""
        return journal.reader(self.folder)

    def walk(self) -> Iterator[SessionTree]:
        """Yield this session and all below it, parents first."""
        rest: list[SessionTree] = [self]
        while rest:
            yield (tree := rest.pop())
            rest += reversed(tree.children)

    def child(self, folder: str) -> SessionTree | None:
        return self._children_by_name.get(folder)

    @cached_property
    def _children_by_name(self) -> dict[str, SessionTree]:
        return {child.folder.name: child for child in self.children}


def list_sessions(home: Path, key: SigningKey | None = None) -> list[ListedSession]:
    """Return all sessions of `home`, last used first. `key` shows which ones this user created."""
    sessions = files.resolve(home) / "sessions"
    names = session_names(sessions)
    with files.opened_folder(sessions) if names else nullcontext() as handle:
        found = [listed for name in names if (listed := _listed(sessions, name, key, handle))]
    return sorted(found, key=lambda listed: listed.meta.updated_time, reverse=True)


def read_tree(folder: Path, agent: str = "root") -> SessionTree:
    """Read a session and all sessions below it.

    Raises:
        SessionError: the folder holds no session.
    """
    journal.opened(folder).close()
    names = [name for name in child_names(folder) if (folder / name / journal.NAME).is_file()]
    children = [read_tree(folder / name, f"{agent}/{name}") for name in names]
    if len(children) > 1:
        order = {record.folder: record.id for record in journal.records_of(folder, AgentStartRecord)}
        children.sort(key=lambda child: (order.get(child.folder.name, inf), child.meta.start_time))
    return SessionTree(folder, agent, with_true_status(meta_of(folder), folder), tuple(children))


def session_names(sessions: Path) -> list[str]:
    """Return the names of the session folders in this folder; none if it does not exist."""
    return _names(sessions, ID)


def child_names(folder: Path) -> list[str]:
    """Return the names of the folders of sub-agents in a session folder."""
    return _names(folder, CHILD)


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if pattern.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def listed_session(folder: Path, key: SigningKey | None) -> ListedSession | None:
    """Return a session for a list; None if there is none."""
    return _listed(folder.parent, folder.name, key, None)


def _listed(sessions: Path, name: str, key: SigningKey | None, handle: int | None) -> ListedSession | None:
    """Read one session. `handle` is a descriptor of `sessions`."""
    signer = Signer(key, name) if key else None
    try:
        if handle is None:
            meta, signed = metas.read_signed(sessions / name, signer)
        else:
            meta, signed = metas.read_listed(name, signer, handle)
    except SessionError:
        try:
            meta, signed = _rebuilt(sessions / name, journal.reader(sessions / name)), False
        except SessionError:
            return None  # killed before it began
    if meta.status == RUNNING:
        meta = with_true_status(meta, sessions / name)
    return ListedSession(sessions, name, meta, foreign=not signed)


def meta_of(folder: Path) -> Meta:
    """Return the meta.json of a folder, rebuilt from the journal if it is lost.

    Raises:
        SessionError: the folder holds no session.
    """
    try:
        return metas.read(folder)
    except SessionError:
        return _rebuilt(folder, journal.reader(folder))


def _rebuilt(folder: Path, records: Iterable[Journalled]) -> Meta:
    metrics = SessionMetrics()
    first, last, model, task = 0.0, 0.0, "", ""
    for record in records:
        metrics.add(record)
        first, last = first or record.ts, record.ts
        match record:
            case RequestRecord():
                model = model or record.model
            case MessageRecord() if record.role == "user":
                task = task or str(record.message["content"])
    id = folder.name.removeprefix("sub-")
    meta = Meta(id, start_time=first, updated_time=last, model=model, prompt_preview=preview(task))
    return metrics.updated(meta, SubtreeMetrics())
