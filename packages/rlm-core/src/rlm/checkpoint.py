"""RLM_CHECKPOINT: the variables of a kernel outlive it. The kernel saves and restores; the host only asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlm.history import History
from rlm.messages import Outcome, Schema
from rlm.ports import Kernel, Tool

VARIABLES = "variables.pickle"
"""In the session folder."""

PATIENCE = 60.0
"""Seconds for saving or restoring."""


@dataclass(frozen=True, slots=True)
class Saving:
    """The ipython tool, and after each cell a checkpoint."""

    tool: Tool
    kernel: Kernel
    path: Path

    @property
    def name(self) -> str:
        return self.tool.name

    def schema(self) -> Schema:
        return self.tool.schema()

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        outcome = await self.tool.run(arguments, history)
        await self.kernel.execute(_ask("save", self.path), PATIENCE)
        return outcome


async def restore(kernel: Kernel, path: Path) -> str:
    """Bring the variables back; what the kernel says of it."""
    return (await kernel.execute(_ask("restore", path), PATIENCE)).text


def _ask(verb: str, path: Path) -> str:
    """A cell that defines no name."""
    return f"__import__('rlm.inside.checkpoint', fromlist=['checkpoint']).{verb}({str(path)!r})"
