"""meta.json: the identity and the status of a session. It can be rebuilt from the journal; it makes listing fast."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Self

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from rlm.core.messages import Usage, Wire
from rlm.errors import SessionError
from rlm.process import files
from rlm.sessions.folder import refused
from rlm.sessions.journal import is_locked
from rlm.sessions.records import Number, Reason, Status, TokenCounts, Whole, only_written
from rlm.sessions.signature import Signer
from rlm.text.clip import one_line

NAME = "meta.json"
FORMAT = 1
"""The version of the format of session folders; docs/sessions.md says what changes it."""

RUNNING = "running"
LOST = "lost"
"""Shown for a session whose status is running although its process has ended. Never written."""

PREVIEW = 200
"""Characters."""

LARGEST = 10_000_000
"""The most bytes of a meta.json. rlm writes a few thousand; a larger file may be an attack on our memory."""

Preview = Annotated[str, only_written(maxLength=PREVIEW, description="one line")]


class Meta(Struct, frozen=True, tag_field="format", tag=FORMAT):
    """The content of meta.json. Times are seconds since 1970.

    `pid_start` distinguishes the process from a later one with the same number. `settings` are those that a resumed run
    takes over. `run` is new with each run. Together with `journal_bytes` and `journal_sha256` (of the journal at its
    last sync), it ties a signed meta.json to its journal.
    """

    session_id: Annotated[str, only_written(pattern="^([0-9a-f]{12}|[0-9a-f]{8})$")] = ""
    parent: Annotated[str | None, only_written(description="the session_id of the agent that called it")] = None
    parent_call: Annotated[str, only_written(description="the id of the call whose cell called it")] = ""
    depth: Whole = 0
    model: str = ""
    cwd: str = ""
    version: str = ""
    pid: Whole = 0
    pid_start: str = ""
    status: Status = RUNNING
    stop_reason: Reason | None = None
    start_time: Number = 0.0
    updated_time: Number = 0.0
    end_time: Number | None = None
    prompt_preview: Preview = ""
    answer_preview: Preview = ""
    error: str = ""
    turns: Whole = 0
    own_tokens: TokenCounts = field(default=TokenCounts(), name="usage")
    tree_tokens: TokenCounts = field(default=TokenCounts(), name="tree_usage")
    metrics: dict[str, Number] = {}
    settings: dict[str, str] = {}
    runtime: Annotated[str, only_written(description="the process's private folder, while it runs")] = ""
    run: Annotated[str, only_written(pattern="^[0-9a-f]{16}$")] = ""
    journal_bytes: Whole = 0
    journal_sha256: Annotated[str, only_written(pattern="^([0-9a-f]{64})?$")] = ""

    @property
    def usage(self) -> Usage:
        """The usage of this agent."""
        return self.own_tokens.usage

    @property
    def tree_usage(self) -> Usage:
        """The usage of this agent and all sub-agents that have ended."""
        return self.tree_tokens.usage

    def wire(self) -> Wire:
        values: Wire = msgspec.to_builtins(self)
        return values

    def begin_run(self) -> Self:
        """Return the meta at the start of a run of this process."""
        pid = os.getpid()
        return replace(self, pid=pid, pid_start=process_start(pid), run=token_hex(8))


_DECODER = msgspec.json.Decoder(Meta)


def _read(data: bytes) -> Meta:
    """Read the valid fields; the others get defaults, so that other versions can be read.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return _DECODER.decode(data)
    except (ValueError, RecursionError):
        values = json.loads(data)
    known = {}
    for each in msgspec.structs.fields(Meta) if isinstance(values, dict) else ():
        try:
            known[each.name] = msgspec.convert(values[each.encode_name], each.type)
        except (KeyError, ValueError):
            continue
    return Meta(**known)


def read(folder: Path) -> Meta:
    """Read the meta.json of a session folder.

    Raises:
        SessionError: there is none that can be read.
    """
    return read_signed(folder, None)[0]


def read_signed(folder: Path, signer: Signer | None) -> tuple[Meta, bool]:
    """Read the meta.json of a session folder. Also return whether it has a valid signature.

    Raises:
        SessionError: as in `read`.
    """
    return _checked(folder, lambda: files.read(folder / NAME, limit=LARGEST), signer)


def read_listed(name: str, signer: Signer | None, sessions: int) -> tuple[Meta, bool]:
    """Read one meta.json of thousands, as `read_signed` does. `sessions` is a descriptor of their folder.

    Raises:
        SessionError: as in `read`.
    """

    def taken() -> bytes:
        folder = files.enter(name, sessions)
        try:
            return files.read_in(folder, NAME, LARGEST)
        finally:
            os.close(folder)

    return _checked(name, taken, signer)


def _checked(folder: Path | str, taken: Callable[[], bytes], signer: Signer | None) -> tuple[Meta, bool]:
    try:
        data = taken()
        meta = _read(data)
    except (OSError, ValueError, RecursionError):
        raise SessionError(f"{folder} has no {NAME} that can be read.") from None
    if not meta.session_id:
        raise SessionError(f"The {NAME} of {folder} does not describe a session.")
    return meta, signer is not None and signer.verify_meta(data)


def write(folder: int, wire: Wire, signer: Signer | None = None) -> None:
    """Replace meta.json atomically in the folder of this descriptor.

    It does not wait for the disk: after a power failure, meta.json is rebuilt from the journal.

    Raises:
        SessionError: it could not be written.
    """
    data = json.dumps(wire).encode()
    try:
        files.replace(NAME, data if signer is None else signer.sign_meta(data), dir_fd=folder)
    except OSError as error:
        raise refused("The session cannot be written", error) from error


def preview(text: str) -> str:
    """Return the first words, in one line."""
    return one_line(text, PREVIEW)


_PROC = 4_096  # bytes; such a file never has more, and its size is unknown


def process_start(pid: int) -> str:
    """Return a text that distinguishes a process from a later one of the same number; empty if /proc has none."""
    try:
        boot = files.read("/proc/sys/kernel/random/boot_id", limit=_PROC).decode()
        # the name, in brackets, may contain blanks and brackets itself; the start is field 22
        ticks = files.read(f"/proc/{pid}/stat", limit=_PROC).rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
    return f"{boot[:8]}-{ticks}"


def with_true_status(meta: Meta, folder: Path) -> Meta:
    """Return the meta with its true status: `lost` if its status is running, but no process runs it."""
    if meta.status != RUNNING:
        return meta
    runs = is_locked(folder)  # this also works from another container
    if runs is None:  # the file system has no locks
        runs = bool(meta.pid_start) and process_start(meta.pid) == meta.pid_start
    return meta if runs else replace(meta, status=LOST)
