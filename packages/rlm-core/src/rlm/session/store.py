"""Find, list and read sessions. Reading never writes, and never fails on a line that is torn."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rlm.errors import SessionError
from rlm.session import journal
from rlm.session import meta as metas
from rlm.session.codec import Record
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


@dataclass(frozen=True, slots=True)
class SessionTree:
    """A session and all below it. `torn` bytes at the end, and the lines `damaged`, could not be read."""

    folder: Path
    agent: str
    meta: Meta
    records: tuple[Record, ...]
    children: tuple[SessionTree, ...] = ()
    torn: int = 0
    damaged: tuple[int, ...] = ()

    def walk(self) -> Iterator[SessionTree]:
        """This one and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def child(self, folder: str) -> SessionTree | None:
        return next((child for child in self.children if child.folder.name == folder), None)


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
    reading = journal.read(folder)
    names = [name for name in child_names(folder) if (folder / name / journal.NAME).is_file()]
    children = [read_tree(folder / name, f"{agent}/{name}") for name in names]
    order = {record["folder"]: record["id"] for record in reading.records if record["type"] == "agent_start"}
    children.sort(key=lambda child: (order.get(child.folder.name, len(reading.records)), child.meta.start_time))
    meta = settled(meta_of(folder), folder)
    return SessionTree(folder, agent, meta, reading.records, tuple(children), reading.torn, reading.damaged)


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
        return _remade(folder, journal.read(folder).records)


def _remade(folder: Path, records: tuple[Record, ...]) -> Meta:
    tally = Tally()
    for record in records:
        tally.add(record)
    first = records[0]["ts"] if records else 0.0
    meta = Meta(folder.name.removeprefix("sub-"), start_time=first, updated_time=records[-1]["ts"] if records else 0.0)
    return replace(
        meta,
        model=next((record["model"] for record in records if record["type"] == "request"), ""),
        prompt_preview=preview(_task(records)),
        status=tally.status,
        stop_reason=tally.stop_reason,
        end_time=tally.end_time,
        answer_preview=preview(tally.answer),
        turns=tally.turns,
        usage=tally.usage,
        tree_usage=tally.usage,
        metrics=tally.metrics(Subtree(), 0),
    )


def _task(records: tuple[Record, ...]) -> str:
    for record in records:
        if record["type"] == "message" and record["message"]["role"] == "user":
            return str(record["message"]["content"])
    return ""
