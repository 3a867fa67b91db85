"""What resuming needs besides the journal: children that were cut off, the cells that ran, the names that are gone."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import symtable
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rlm.budget import Stop
from rlm.errors import SessionError
from rlm.events import ChildEnded
from rlm.session import meta as metas
from rlm.session.codec import Record
from rlm.session.folder import enter
from rlm.session.store import child_names, meta_of
from rlm.session.story import Call, Turn, tell
from rlm.session.tally import TREE, Subtree

CUT_OFF = "The run that it belonged to was stopped."

_SHELL = re.compile(r"(?m)^(\s*)[%!].*$")
_ASSIGNED = re.compile(r"(?m)^(\s*[\w, ]+=)\s*[%!].*$")
_HELP = re.compile(r"(?m)^.*\?\s*$")


def settle_children(folder: Path, agent: str) -> Subtree:
    """What the sub-agents of earlier runs came to, from their meta.json; those cut off are marked as cancelled.

    Their parent's lock is held, so nobody runs them.
    """
    below = Subtree()
    for name in child_names(folder):
        below.take(_settle_child(folder / name, f"{agent}/{name}"))
    return below


def _settle_child(folder: Path, agent: str) -> Subtree:
    below = settle_children(folder, agent)
    try:
        meta = metas.read(folder)
    except SessionError:
        return below  # it was killed before it had begun
    if meta.status == metas.RUNNING:
        _cancel(folder, meta)
    counts = Counter({name: int(meta.metrics.get(name, 0)) for name in TREE})
    tree = Subtree(meta.usage, counts, meta.depth, {agent: meta.usage})
    tree.take(below)
    return tree


def _cancel(folder: Path, meta: metas.Meta) -> None:
    stop = Stop.CANCELLED
    meta = replace(meta, status=stop.status, stop_reason=str(stop), end_time=meta.updated_time)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        metas.write(handle, meta.wire())
    finally:
        os.close(handle)


def open_children(records: Iterable[Record], folder: Path, agent: str) -> list[ChildEnded]:
    """The missing ends of the sub-agents that were started and cut off."""
    started: dict[str, None] = {}
    for record in records:
        if record["type"] == "agent_start":
            started[record["folder"]] = None
        elif record["type"] == "agent_end":
            started.pop(record["folder"], None)
    return [_ended(folder / name, f"{agent}/{name}") for name in started]


def _ended(folder: Path, agent: str) -> ChildEnded:
    tree = _settle_child(folder, agent)
    turns = _read_or_empty(folder).turns
    return ChildEnded(folder.name, Stop.CANCELLED, turns, tree.usage, CUT_OFF)


def _read_or_empty(folder: Path) -> metas.Meta:
    try:
        return metas.read(folder)
    except SessionError:
        return metas.Meta()


def fork(folder: Path, sessions: int) -> str:
    """Copy a session to a new id in the folder `sessions`, a descriptor; the id.

    Raises:
        SessionError: it cannot be copied.
    """
    name = secrets.token_hex(6)
    copy = folder.parent / name
    try:
        shutil.copytree(folder, copy, symlinks=True, ignore=_temporary)
        handle = enter(sessions, name)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(copy, ignore_errors=True)
        raise SessionError(f"The session cannot be copied: {error}.") from None
    try:
        metas.write(handle, replace(meta_of(folder), session_id=name).wire())
    finally:
        os.close(handle)
    return name


def _temporary(folder: str, names: list[str]) -> list[str]:
    """Files that come and go in a running session; and what is neither file nor folder."""
    plain = (name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir()))
    return [*plain, *(name for name in names if name.endswith(".new"))]


def cells(records: Iterable[Record]) -> list[Call]:
    """The notebook cells that ran, in order, with their results."""
    turns = (item for item in tell(records) if isinstance(item, Turn))
    return [call for turn in turns for call in turn.calls if call.tool == "ipython" and call.code]


def names_gone(records: Sequence[Record]) -> list[str]:
    """The names that the cells since the kernel's last restart assigned, in order."""
    restart = max((record["id"] for record in records if record["type"] == "kernel"), default=-1)
    since = (call for call in cells(records) if call.answer is not None and call.answer > restart)
    return list(dict.fromkeys(name for call in since for name in assigned(call.code)))


def assigned(code: str) -> list[str]:
    """The names that a cell binds in the notebook's own namespace; none if it cannot be read."""
    code = _HELP.sub("", _SHELL.sub(r"\1pass", _ASSIGNED.sub(r"\1 0", code)))
    try:
        table = symtable.symtable(code, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return []
    bound = (symbol for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported())
    return [symbol.get_name() for symbol in bound if not symbol.get_name().startswith("_")]


def kernel_note(names: Iterable[str], most: int = 60) -> str:
    """The message that tells the model that its variables are gone."""
    every = list(names)
    if not every:
        return "This session was resumed. The kernel is fresh: nothing is defined in it."
    shown = ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
    return (
        "This session was resumed. The kernel is fresh, and what earlier cells defined is gone: "
        f"{shown}. Define again what you need."
    )
