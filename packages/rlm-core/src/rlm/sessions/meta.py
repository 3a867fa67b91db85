"""meta.json: what a session is and how it stands. It can be told again from the journal; it is here to be quick."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rlm.core.messages import Usage
from rlm.errors import SessionError
from rlm.process import files
from rlm.sessions import shapes
from rlm.sessions.folder import refused
from rlm.sessions.journal import is_locked
from rlm.sessions.records import Record, usage_read, usage_wire
from rlm.sessions.signature import Signer
from rlm.text.clip import one_line

NAME = "meta.json"
FORMAT = 1
"""The version of the format of session folders; docs/sessions.md says what changes it."""

RUNNING = "running"
LOST = "lost"
"""Shown for a session that says it is running while its process is gone. Never written."""

PREVIEW = 200
"""Characters."""

LARGEST = 10_000_000
"""Bytes of a meta.json. rlm writes a few thousand; what is larger was put there to fill our memory."""


@dataclass(frozen=True, slots=True)
class Meta:
    """Times are seconds since 1970. `pid_start` tells the process from a later one with the same number.

    `settings` are those that a resumed run has too. `run` is new with each run; with `journal_bytes` and
    `journal_sha256`, of the journal when it was last synced, it ties a signed meta.json to its journal.
    """

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
    error: str = ""
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    tree_usage: Usage = field(default_factory=Usage)
    metrics: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    run: str = ""
    journal_bytes: int = 0
    journal_sha256: str = ""

    def wire(self) -> Record:
        plain: Record = {name: getattr(self, name) for name in _NAMES}
        usages = {"usage": usage_wire(self.usage), "tree_usage": usage_wire(self.tree_usage)}
        return {"format": FORMAT} | plain | usages


_NAMES = [each.name for each in fields(Meta)]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _each(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


_FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("depth", "pid", "turns", "journal_bytes"), shapes.whole),
    **dict.fromkeys(("parent", "stop_reason"), _or_none(_text)),
    **dict.fromkeys(("start_time", "updated_time"), shapes.number),
    "end_time": _or_none(shapes.number),
    **dict.fromkeys(("usage", "tree_usage"), shapes.usage),
    "metrics": _each(shapes.number),
    "settings": _each(_text),
}


def from_wire(wire: Record) -> Meta:
    """What can be understood of it; defaults for the rest, so that other versions can be read."""
    known = {name: wire[name] for name in _NAMES if name in wire and _FITS.get(name, _text)(wire[name])}
    for name in ("usage", "tree_usage"):
        known[name] = usage_read(known.get(name, {}))
    return Meta(**known)


def read(folder: Path) -> Meta:
    """The meta.json of a session folder.

    Raises:
        SessionError: there is none that can be read.
    """
    return read_signed(folder, None)[0]


def read_signed(folder: Path, signer: Signer | None, *, sessions: int | None = None) -> tuple[Meta, bool]:
    """The same, and whether it has a valid signature. `sessions` is a descriptor of the folder that holds this one.

    Raises:
        SessionError: as `read`.
    """
    try:
        place = folder if sessions is None else folder.name
        data = files.read(f"{place}/{NAME}", dir_fd=sessions, limit=LARGEST)
        wire = json.loads(data)
    except (OSError, ValueError, RecursionError):
        raise SessionError(f"{folder} has no {NAME} that can be read.") from None
    meta = from_wire(wire) if isinstance(wire, dict) else Meta()
    if not meta.session_id:
        raise SessionError(f"{folder / NAME} says nothing of a session.")
    return meta, signer is not None and signer.made_meta(data)


def write(folder: int, wire: Record, signer: Signer | None = None) -> None:
    """Replace meta.json in the folder of this descriptor, at once or not at all. Nobody waits for the disk: should the
    machine lose its power, the journal tells it again.

    Raises:
        SessionError: it could not be written.
    """
    data = json.dumps(wire).encode()
    try:
        files.replace(NAME, data if signer is None else signer.sign_meta(data), dir_fd=folder)
    except OSError as error:
        raise refused("The session cannot be written", error) from error


def process() -> dict[str, Any]:
    """The fields that name this process."""
    return {"pid": os.getpid(), "pid_start": process_start(os.getpid())}


def preview(text: str) -> str:
    """The first words, in one line."""
    return one_line(text, PREVIEW)


_PROC = 4_096  # bytes; more than such a file ever holds, which does not tell its size


def process_start(pid: int) -> str:
    """What tells a process from a later one of the same number; empty where /proc does not say."""
    try:
        boot = files.read("/proc/sys/kernel/random/boot_id", limit=_PROC).decode()
        # the name, in brackets, may hold blanks and brackets itself; the start is field 22
        ticks = files.read(f"/proc/{pid}/stat", limit=_PROC).rpartition(b")")[2].split()[19].decode()
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
