"""Files that an agent and its descendants have changed, from the calls of its tools and from notes of its kernel.

People and the model see the list when a recorded result is given without its effects. Nothing else may depend on it,
because code in a kernel can write anything to the notes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rlm.core.events import Effects
from rlm.core.messages import ToolResult
from rlm.inside.effects import COMMAND, NAME
from rlm.process import files

_LONGEST = 256 << 10  # bytes of the kernel's notes that are read
_MOST = 50  # files in the list


class EffectLog:
    """The known effects of one agent."""

    def __init__(self, folder: Path, cwd: Path) -> None:
        """`folder` is the agent's runtime folder."""
        self._notes = folder / NAME
        self._cwd = self._works_in = str(cwd)
        self._copy: str | None = None
        self._files: dict[str, None] = {}
        self._commands = False

    def create_notes(self) -> None:
        """Create the file that kernels write to. Without it they note nothing."""
        with suppress(OSError):
            files.write_new(self._notes, b"")

    def isolate(self, copy: Path, cwd: Path) -> None:
        """The agent works in the folder `cwd` of this copy, whose changes return as a patch and are not listed."""
        self._copy, self._works_in = str(copy), str(cwd)

    def add_call(self, result: ToolResult) -> None:
        """Add the effects of a tool call that has ended."""
        if result.call.name == "bash":
            self._commands = True
        elif result.call.name == "edit" and result.ok:
            with suppress(ValueError, KeyError, TypeError):
                self._add_files([str(json.loads(result.call.arguments)["path"])], self._works_in)

    def add_child(self, child: Effects, cwd: Path) -> None:
        """Add the effects of a sub-agent that worked for the folder `cwd`."""
        self._add_files(child.files, str(cwd))
        self._commands |= child.commands

    @property
    def effects(self) -> Effects:
        """The known effects so far."""
        return Effects(tuple(self._files), self._commands)

    def read_notes(self) -> None:
        """Add the kernel's notes. Call it before the kernel's folder is removed."""
        with suppress(OSError):
            lines = files.read(self._notes, limit=_LONGEST).decode(errors="replace").splitlines()
            self._commands |= COMMAND in lines
            self._add_files((line for line in lines if line != COMMAND), self._works_in)

    def _add_files(self, paths: Iterable[str], base: str) -> None:
        """Add paths; relative ones are in the folder `base`."""
        for path in (os.path.normpath(os.path.join(base, each)) for each in paths):  # noqa: PTH118 - names, no files
            if len(self._files) < _MOST and not (self._copy and _is_in(path, self._copy)):
                self._files[os.path.relpath(path, self._cwd) if _is_in(path, self._cwd) else path] = None


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip(os.sep)}{os.sep}")
