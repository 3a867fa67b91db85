"""RLM_CHECKPOINT: a kernel's variables outlive it. The host only asks; the kernel itself saves and restores."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlm.core.events import Checkpointed
from rlm.core.ports import Kernel, Sink
from rlm.process import files
from rlm.sessions.records import CheckpointRecord, Journalled

VARIABLES = "variables.pickle"
"""The name of the file in the session folder."""

LARGEST = 256_000_000
"""The most bytes of a checkpoint; a kernel of rlm saves less."""

TIMEOUT = 60.0
"""Seconds for saving or restoring."""

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Saves the variables of one agent's kernel.

    The kernel saves to `draft`, in its runtime folder. The host copies that to `path`, where a kernel in a sandbox
    cannot write.
    """

    kernel: Kernel
    draft: Path
    path: Path
    sink: Sink
    sandbox: str

    async def save(self) -> str:
        """Save the variables as they are now. Return what the kernel reports; empty if everything was saved."""
        trouble = await self.kernel.execute_internal(_cell("save", self.draft), TIMEOUT)
        with suppress(OSError):  # the kernel died or the disk is full: the previous checkpoint stays
            copy = self.path.with_suffix(".new")
            if digest := await asyncio.to_thread(_copy, self.draft, copy):
                # journal the digest first: after a kill in between, the previous file stays, and its digest is known
                self.sink(Checkpointed(digest, self.sandbox))
                copy.replace(self.path)  # by path: in the session folder, after it was created there
        return f"[saving the variables after the cell:]\n{trouble}" if trouble else ""


def _copy(draft: Path, copy: Path) -> str:
    """Copy the file without parsing it, and return its digest. Skip a file that is too large for a checkpoint."""
    digest, left = hashlib.sha256(), LARGEST
    with os.fdopen(files.open_file(_in_real_folder(draft)), "rb") as source:
        if os.fstat(source.fileno()).st_size > LARGEST:
            return ""
        files.remove(_in_real_folder(copy))
        with os.fdopen(files.create(_in_real_folder(copy)), "wb") as target:
            while left > 0 and (piece := source.read(min(left, _PIECE))):
                left -= len(piece)
                digest.update(piece)
                target.write(piece)
    files.remove(_in_real_folder(draft))
    return digest.hexdigest()


def _in_real_folder(path: Path) -> Path:
    """Resolve the folder only: the folder is the host's, but a cell may have replaced the file by a link."""
    return files.resolve(path.parent) / path.name


def refusal(path: Path, records: Iterable[Journalled], sandbox: str, *, trusted: bool) -> str:
    """Return why saved variables must not be loaded in this sandbox (`off`: none); empty if they may be.

    Loading them runs code that a kernel wrote. `records` are those of the session, known to be the user's.
    """
    sandboxes = {record.sha256: record.sandbox for record in records if isinstance(record, CheckpointRecord)}
    try:
        with os.fdopen(files.open_file(_in_real_folder(path)), "rb") as saved:
            digest = hashlib.file_digest(saved, "sha256").hexdigest()
    except OSError as error:
        return f"{VARIABLES} cannot be read: {error.strerror}"
    if digest not in sandboxes:
        return "" if trusted else f"{VARIABLES} is not the file that this session saved"
    if sandboxes[digest] != "off" and sandbox == "off":
        return "they were saved in a sandbox, and this run has none"
    return ""


async def restore(kernel: Kernel, path: Path) -> str:
    """Restore the variables. Return the kernel's report."""
    return (await kernel.execute(_cell("restore", path), TIMEOUT)).text


def _cell(verb: str, path: Path) -> str:
    """Return a cell that defines no name."""
    return f"__import__('rlm.inside.checkpoint', fromlist=['checkpoint']).{verb}({str(path)!r})"
