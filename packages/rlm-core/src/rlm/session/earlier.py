"""What an earlier run left: mended, and with all that was cut off in it marked as ended."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from rlm.budget import Stop
from rlm.errors import SessionError
from rlm.events import ChildEnded
from rlm.session import meta as metas
from rlm.session.codec import Record, decode
from rlm.session.folder import enter, new_folder
from rlm.session.journal import Journal
from rlm.session.meta import Meta
from rlm.session.store import child_names, meta_of
from rlm.session.tally import TREE, Subtree, Tally
from rlm.state import State, replay

CUT_OFF = "The run that it belonged to was stopped."


@dataclass(frozen=True, slots=True)
class Earlier:
    """`below` is what the sub-agents came to, those that were `cut_off` too. `notes` are for the user."""

    records: tuple[Record, ...]
    state: State
    tally: Tally
    below: Subtree
    cut_off: tuple[ChildEnded, ...]
    notes: tuple[str, ...]


def read_earlier(folder: Path, journal: Journal, agent: str) -> Earlier:
    """Read a session that is to go on. Its lock is held, so nobody runs it or any of its sub-agents.

    Raises:
        SessionError: it is damaged.
    """
    records, torn = _mend(journal, folder)
    tally = Tally()
    for record in records:
        tally.add(record)
    cut_off = tuple(_open_children(records, folder, agent))
    notes = [f"The last record was half written, and was cut: {torn} bytes."] if torn else []
    if cut_off:
        notes.append(f"Sub-agents that were cut off: {len(cut_off)}.")
    return Earlier(records, replay(decode(records)), tally, _settle_children(folder, agent), cut_off, tuple(notes))


def _mend(journal: Journal, folder: Path) -> tuple[tuple[Record, ...], int]:
    reading = journal.read()
    if reading.damaged:
        raise SessionError(
            f"Line {reading.damaged[0]} of the journal of session {folder.name} is damaged: it can be read "
            "(`rlm show`), not resumed."
        )
    if reading.torn:
        journal.cut(reading.sound)
    return reading.records, reading.torn


def _open_children(records: Iterable[Record], folder: Path, agent: str) -> Iterable[ChildEnded]:
    """The missing ends of the sub-agents that were started and not ended."""
    started: dict[str, None] = {}
    for record in records:
        if record["type"] == "agent_start":
            started[record["folder"]] = None
        elif record["type"] == "agent_end":
            started.pop(record["folder"], None)
    there = child_names(folder)
    for name in started:
        tree = _settle_child(folder / name, f"{agent}/{name}") if name in there else Subtree()
        turns = meta_of(folder / name).turns if tree.by_agent else 0
        yield ChildEnded(name, Stop.CANCELLED, turns, tree.usage, CUT_OFF)


def _settle_children(folder: Path, agent: str) -> Subtree:
    """What the sub-agents came to, from their meta.json; those that say they are running are marked as cancelled."""
    below = Subtree()
    for name in child_names(folder):
        below.take(_settle_child(folder / name, f"{agent}/{name}"))
    return below


def _settle_child(folder: Path, agent: str) -> Subtree:
    below = _settle_children(folder, agent)
    try:
        meta = meta_of(folder)
    except SessionError:
        return below  # it was killed before it had begun
    if meta.status == metas.RUNNING:
        _cancel(folder, meta)
    counts = Counter({name: int(meta.metrics.get(name, 0)) for name in TREE})
    tree = Subtree(meta.usage, counts, meta.depth, {agent: meta.usage})
    tree.take(below)
    return tree


def _cancel(folder: Path, meta: Meta) -> None:
    stop = Stop.CANCELLED
    meta = replace(meta, status=stop.status, stop_reason=str(stop), end_time=meta.updated_time)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        metas.write(handle, meta.wire())
    finally:
        os.close(handle)


def fork(folder: Path, sessions: int) -> str:
    """Copy a session to a new id in the folder `sessions`, a descriptor; the id.

    Raises:
        SessionError: it cannot be copied.
    """
    name, handle = new_folder(sessions, "", 6)
    copy = folder.parent / name
    try:
        shutil.copytree(folder, copy, symlinks=True, ignore=_passing, dirs_exist_ok=True)
        metas.write(handle, replace(meta_of(folder), session_id=name).wire())
        for child in child_names(copy):
            _adopt(handle, child, copy / child, name)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(copy, ignore_errors=True)
        raise SessionError(f"The session cannot be copied: {error}.") from None
    finally:
        os.close(handle)
    return name


def _adopt(parent: int, name: str, folder: Path, parent_id: str) -> None:
    handle = enter(parent, name)
    try:
        metas.write(handle, replace(meta_of(folder), parent=parent_id).wire())
    finally:
        os.close(handle)


def _passing(folder: str, names: list[str]) -> list[str]:
    """What comes and goes in a running session, and what is neither file nor folder."""
    here = [Path(folder, name) for name in names]
    return [each.name for each in here if each.suffix == ".new" or not (each.is_file() or each.is_dir())]
