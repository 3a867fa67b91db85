"""RLM_CHECKPOINT: the variables of a kernel outlive it. The kernel saves and restores; the host only asks for it."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm.history import History
from rlm.messages import Outcome, Schema
from rlm.ports import Kernel, Tool
from rlm.process import files

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
    with os.fdopen(files.open_file(draft), "rb") as source:
        if os.fstat(source.fileno()).st_size > LARGEST:
            return
        files.replace_with(path, source.fileno())
    files.remove(draft)


async def restore(kernel: Kernel, path: Path) -> str:
    """Bring the variables back; what the kernel says of it."""
    return (await kernel.execute(_ask("restore", path), PATIENCE)).text


def _ask(verb: str, path: Path) -> str:
    """A cell that defines no name."""
    return f"__import__('rlm.inside.checkpoint', fromlist=['checkpoint']).{verb}({str(path)!r})"
