"""meta.json: what a session is and how it stands. It can be told again from the journal; it is here to be quick."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rlm.errors import SessionError
from rlm.messages import Usage
from rlm.session.codec import Record, usage_read, usage_wire
from rlm.session.folder import read_regular, refused, write_new
from rlm.session.journal import is_locked

NAME = "meta.json"
FORMAT = 1
"""The version of the format of session folders; docs/sessions.md says what changes it."""

RUNNING = "running"
LOST = "lost"
"""Shown for a session that says it is running while its process is gone. Never written."""

PREVIEW = 200
"""Characters."""


@dataclass(frozen=True, slots=True)
class Meta:
    """Times are seconds since 1970. `pid_start` tells the process from a later one with the same number."""

    session_id: str = ""
    parent: str | None = None
    depth: int = 0
    model: str = ""
    cwd: str = ""
    version: str = ""
    pid: int = 0
    pid_start: str = ""
    status: str = RUNNING
    stop_reason: str | None = None
    start_time: float = 0.0
    updated_time: float = 0.0
    end_time: float | None = None
    prompt_preview: str = ""
    answer_preview: str = ""
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    tree_usage: Usage = field(default_factory=Usage)
    metrics: dict[str, float] = field(default_factory=dict)

    def wire(self) -> Record:
        plain: Record = {name: getattr(self, name) for name in _NAMES}
        usages = {"usage": usage_wire(self.usage), "tree_usage": usage_wire(self.tree_usage)}
        return {"format": FORMAT} | plain | usages


_NAMES = [each.name for each in fields(Meta)]
_TEXT, _NUMBER, _NOTHING = str, (int, float), type(None)
_KINDS: dict[str, Any] = {
    "depth": int,
    "pid": int,
    "turns": int,
    "parent": (_TEXT, _NOTHING),
    "stop_reason": (_TEXT, _NOTHING),
    "start_time": _NUMBER,
    "updated_time": _NUMBER,
    "end_time": (*_NUMBER, _NOTHING),
    "usage": dict,
    "tree_usage": dict,
    "metrics": dict,
}


def from_wire(wire: Record) -> Meta:
    """What can be understood of it; defaults for the rest, so that other versions can be read."""
    known = {name: wire[name] for name in _NAMES if name in wire and isinstance(wire[name], _KINDS.get(name, _TEXT))}
    for name in ("usage", "tree_usage"):
        known[name] = usage_read(known.get(name, {}))
    return Meta(**known)


def read(folder: Path) -> Meta:
    """The meta.json of a session folder.

    Raises:
        SessionError: there is none that can be read.
    """
    try:
        wire = json.loads(read_regular(f"{folder}/{NAME}"))
    except (OSError, ValueError, RecursionError):
        raise SessionError(f"{folder} has no {NAME} that can be read.") from None
    meta = from_wire(wire) if isinstance(wire, dict) else Meta()
    if not meta.session_id:
        raise SessionError(f"{folder / NAME} says nothing of a session.")
    return meta


def write(folder: int, wire: Record) -> None:
    """Replace meta.json in the folder of this descriptor, at once or not at all. Nobody waits for the disk: should the
    machine lose its power, the journal tells it again.

    Raises:
        SessionError: it could not be written.
    """
    new = NAME + ".new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=folder)  # what a killed writer left
        write_new(folder, new, json.dumps(wire).encode())
        os.rename(new, NAME, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        raise refused("The session cannot be written", error) from error


def process() -> dict[str, Any]:
    """The fields that name this process."""
    return {"pid": os.getpid(), "pid_start": process_start(os.getpid())}


def preview(text: str) -> str:
    """The first words, in one line."""
    words = " ".join(text[: 4 * PREVIEW].split())
    return words if len(words) <= PREVIEW else words[: PREVIEW - 1] + "…"


def process_start(pid: int) -> str:
    """What tells a process from a later one of the same number; empty where /proc does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        # the name, in brackets, may hold blanks and brackets itself; the start is field 22
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
    return f"{boot[:8]}-{ticks}"


def settled(meta: Meta, folder: Path) -> Meta:
    """The same with a true status: `lost` where it says that it is running, and no process runs it."""
    if meta.status == RUNNING and not _runs(meta, folder):
        return replace(meta, status=LOST)
    return meta


def _runs(meta: Meta, folder: Path) -> bool:
    """Its lock tells, in another container too; where there are no locks, its process."""
    locked = is_locked(folder)
    if locked is None:
        return bool(meta.pid_start) and process_start(meta.pid) == meta.pid_start
    return locked
