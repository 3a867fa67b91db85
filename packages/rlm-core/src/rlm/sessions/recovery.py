"""Repairs a session that an earlier run left, and marks everything that was cut off as ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from msgspec.structs import replace

from rlm.core.budget import Stop
from rlm.core.events import ChildEnded
from rlm.core.state import ConversationState, replay
from rlm.errors import SessionError
from rlm.process import files
from rlm.process.files import copy_tree
from rlm.sessions import meta as metas
from rlm.sessions.decoder import decode
from rlm.sessions.folder import new_folder
from rlm.sessions.journal import Journal, reader, whole_lines
from rlm.sessions.meta import Meta
from rlm.sessions.metrics import SessionMetrics, SubtreeMetrics
from rlm.sessions.records import AgentEndRecord, AgentStartRecord, Journalled
from rlm.sessions.signature import Signer
from rlm.sessions.store import CHILD, child_names, meta_of

CUT_OFF = "Its run was stopped."


@dataclass(frozen=True, slots=True)
class RecoveredSession:
    """A repaired session. `below` are the totals of all sub-agents, also `cut_off` ones. `notes` are for the user."""

    records: tuple[Journalled, ...]
    state: ConversationState
    metrics: SessionMetrics
    below: SubtreeMetrics
    cut_off: tuple[ChildEnded, ...]
    notes: tuple[str, ...]


def recover(folder: Path, journal: Journal, agent: str, signer: Signer | None = None) -> RecoveredSession:
    """Read a session that is to be continued. Its lock is held, so nobody runs it or any of its sub-agents.

    Raises:
        SessionError: it is damaged. Nothing has been changed then.
    """
    reading = journal.read()
    if reading.damaged:
        raise SessionError(
            f"Line {reading.damaged[0]} of the journal of session {folder.name} is damaged: it can be read "
            "(`rlm show`), but not resumed."
        )
    metrics = SessionMetrics()
    for record in reading.records:
        metrics.add(record)
    state = replay(decode(reading.records))
    if reading.torn:
        journal.cut(reading.valid)
    cut_off = tuple(_open_children(reading.records, folder, agent, signer))
    notes = [f"The last record was incomplete; {reading.torn} bytes were removed."] if reading.torn else []
    if cut_off:
        notes.append(f"Sub-agents that were cut off: {len(cut_off)}.")
    below = _settle_children(folder, agent, signer)
    return RecoveredSession(reading.records, state, metrics, below, cut_off, tuple(notes))


def _open_children(
    records: Iterable[Journalled], folder: Path, agent: str, signer: Signer | None
) -> Iterable[ChildEnded]:
    """Yield the missing ends of the sub-agents that were started and did not end."""
    started: dict[str, None] = {}
    for record in records:
        if isinstance(record, AgentStartRecord):
            started[record.folder] = None
        elif isinstance(record, AgentEndRecord):
            started.pop(record.folder, None)
    there = child_names(folder)
    for name in started:
        path, inner = f"{agent}/{name}", signer and signer.child(name)
        tree, turns = _settle_child(folder / name, path, inner) if name in there else (SubtreeMetrics(), 0)
        yield ChildEnded(name, Stop.CANCELLED, turns, tree.usage, CUT_OFF)


def _settle_children(folder: Path, agent: str, signer: Signer | None) -> SubtreeMetrics:
    """Return the totals of the sub-agents. Those with the status running in meta.json are marked as cancelled."""
    below = SubtreeMetrics()
    for name in child_names(folder):
        tree, _ = _settle_child(folder / name, f"{agent}/{name}", signer and signer.child(name))
        below.add(tree)
    return below


def _settle_child(folder: Path, agent: str, signer: Signer | None) -> tuple[SubtreeMetrics, int]:
    """Return the totals of a subtree and the agent's own turns, from the journals: a meta.json may be outdated."""
    below = _settle_children(folder, agent, signer)
    metrics = SessionMetrics()
    try:
        meta = meta_of(folder)
        for record in reader(folder):
            metrics.add(record)
    except SessionError:
        return below, 0  # it was killed before it began
    if meta.status == metas.RUNNING:
        _end(folder, metrics.updated(meta, below), signer)
    return metrics.subtree(agent, meta.depth, below), metrics.turns


def _end(folder: Path, meta: Meta, signer: Signer | None) -> None:
    """Write the end as the journal has it; cancelled, if it has none."""
    if meta.status == metas.RUNNING:
        stop = Stop.CANCELLED
        meta = replace(meta, status=stop.status, stop_reason=str(stop), end_time=meta.updated_time)
    with files.opened_folder(folder) as handle:
        metas.write(handle, meta.wire(), signer)


def adopt(folder: Path, parent: str, signer: Signer | None) -> None:
    """Make `parent` the parent of the sub-agents in `folder`, and sign their files.

    Raises:
        SessionError: their meta.json cannot be written.
    """
    for name in child_names(folder):
        id, inner = name.removeprefix("sub-"), signer and signer.child(name)
        adopt(folder / name, id, inner)
        try:
            meta, lines = meta_of(folder / name), whole_lines(folder / name)
        except SessionError:
            continue  # it was killed before it began
        sign_again(folder / name, replace(meta, parent=parent, session_id=id), lines, inner)


def sign_again(folder: Path, meta: Meta, lines: bytes, signer: Signer | None) -> None:
    """Write `meta` to a folder, with a signature that is valid for the `lines` of its journal.

    Raises:
        SessionError: meta.json cannot be written.
    """
    digest = hashlib.sha256(lines).hexdigest()
    meta = replace(meta, run=token_hex(8), journal_bytes=len(lines), journal_sha256=digest)
    with files.opened_folder(folder) as handle:
        metas.write(handle, meta.wire(), signer)


def fork(folder: Path, sessions: int) -> str:
    """Copy a session, which may be running, to a new id in the folder `sessions`, a descriptor. Return the id.

    Each meta.json is read before its journal is copied: it is valid for any journal that has grown since then.

    Raises:
        SessionError: it cannot be copied.
    """
    name, handle = new_folder(sessions, "", 6)
    try:
        kept = dict(_meta_files(folder))
        with files.opened_folder(folder) as source:
            copy_tree(source, handle, _CopyFilter({path.relative_to(folder) for path in kept}))
        for path, data in kept.items():
            inner = files.open_folder(path.relative_to(folder), dir_fd=handle)
            try:
                files.write_new(metas.NAME, data, dir_fd=inner)
            finally:
                os.close(inner)
    except OSError as error:
        files.remove_tree(name, dir_fd=sessions)
        raise SessionError(f"The session cannot be copied: {error}.") from None
    finally:
        os.close(handle)
    return name


def _meta_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield each agent's folder and its meta.json, empty if missing."""
    try:
        yield folder, files.read(folder / metas.NAME, limit=metas.LARGEST)
    except OSError:
        yield folder, b""
    for name in child_names(folder):
        yield from _meta_files(folder / name)


@dataclass(frozen=True, slots=True)
class _CopyFilter:
    """Selects the files to copy: no meta.json (copied separately), temporary files, or sub-agents that just began."""

    agents: Collection[Path]

    def __call__(self, path: Path) -> bool:
        """Return whether a path is copied. All paths are relative to the session."""
        if path.parent in self.agents and (path.name == metas.NAME or CHILD.fullmatch(path.name)):
            return path in self.agents
        return path.suffix != ".new"
