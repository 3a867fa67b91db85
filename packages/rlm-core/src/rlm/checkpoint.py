"""RLM_CHECKPOINT: the variables of a kernel outlive it. The kernel saves and restores; the host only asks for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm.history import History
from rlm.messages import Outcome, Schema
from rlm.ports import Kernel, Tool

VARIABLES = "variables.pickle"
"""In the session folder."""

LARGEST = 256_000_000
"""Bytes of a checkpoint; a kernel of ours saves less."""

PATIENCE = 60.0
"""Seconds for saving or restoring."""


@dataclass(frozen=True, slots=True)
class Saving:
    """The ipython tool, and after each cell a checkpoint.

    The kernel saves to `draft`, in its runtime folder; the host brings that to `path`, where no kernel in a sandbox may
    write.
    """

    tool: Tool
    kernel: Kernel
    draft: Path
    path: Path

    @property
    def name(self) -> str:
        return self.tool.name

    def schema(self) -> Schema:
        return self.tool.schema()

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        outcome = await self.tool.run(arguments, history)
        await self.kernel.execute(_ask("save", self.draft), PATIENCE)
        with suppress(OSError):  # the kernel died, the disk is full: the checkpoint before this one stays
            await asyncio.to_thread(_keep, self.draft, self.path)
        return outcome


def _keep(draft: Path, path: Path) -> None:
    """Whole or not at all, and unread. Whatever else the kernel may have put there is left alone."""
    handle = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as source:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            return
        copy = path.with_suffix(".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(copy, flags, 0o600), "wb") as target:
            shutil.copyfileobj(source, target)
    copy.replace(path)
    draft.unlink()


async def restore(kernel: Kernel, path: Path) -> str:
    """Bring the variables back; what the kernel says of it."""
    return (await kernel.execute(_ask("restore", path), PATIENCE)).text


def _ask(verb: str, path: Path) -> str:
    """A cell that defines no name."""
    return f"__import__('rlm.inside.checkpoint', fromlist=['checkpoint']).{verb}({str(path)!r})"
