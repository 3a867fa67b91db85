"""Programs of tools in a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class SandboxedCommand(Protocol):
    async def __call__(self, cwd: Path, *words: str) -> tuple[str, ...]:
        """The command that runs the command `words` in a sandbox, in the folder `cwd`.

        Raises:
            KernelError: there is no sandbox to be had.
        """
        ...
