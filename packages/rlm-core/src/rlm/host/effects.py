"""Which files an agent and those below it have changed: what its tools say, and what its kernel notes.

It is for people and for the model, when a result is given again without its effects. Nothing depends on it, for code in
a kernel may write what it likes there.
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
_MOST = 50  # files that are kept


class EffectLog:
    """What is known so far of one agent."""

    def __init__(self, folder: Path, cwd: Path) -> None:
        """`folder` is the agent's runtime folder."""
        self._notes = folder / NAME
        self._cwd = self._works_in = str(cwd)
        self._copy: str | None = None
        self._files: dict[str, None] = {}
        self._commands = False

    def open(self) -> None:
        """Make the file that kernels write to. Without it they note nothing."""
        with suppress(OSError):
            files.write_new(self._notes, b"")

    def isolate(self, copy: Path, cwd: Path) -> None:
        """It works in the folder `cwd` of this copy. What changes there comes back as a patch, and is no effect."""
        self._copy, self._works_in = str(copy), str(cwd)

    def returned(self, result: ToolResult) -> None:
        """A call of a tool has ended."""
        if result.call.name == "bash":
            self._commands = True
        elif result.call.name == "edit" and result.ok:
            with suppress(ValueError, KeyError, TypeError):
                self._changed([str(json.loads(result.call.arguments)["path"])], self._works_in)

    def add(self, below: Effects, cwd: Path) -> None:
        """A sub-agent that was to work in `cwd` has ended."""
        self._changed(below.files, str(cwd))
        self._commands |= below.commands

    @property
    def effects(self) -> Effects:
        return Effects(tuple(self._files), self._commands)

    def look(self) -> None:
        """Read what the kernel has noted, before its folder is removed."""
        with suppress(OSError):
            lines = files.read(self._notes, limit=_LONGEST).decode(errors="replace").splitlines()
            self._commands |= COMMAND in lines
            self._changed((line for line in lines if line != COMMAND), self._works_in)

    def _changed(self, paths: Iterable[str], base: str) -> None:
        """Relative paths are in the folder `base`."""
        for path in (os.path.normpath(os.path.join(base, each)) for each in paths):  # noqa: PTH118 - names, no files
            if len(self._files) < _MOST and not (self._copy and _is_in(path, self._copy)):
                self._files[os.path.relpath(path, self._cwd) if _is_in(path, self._cwd) else path] = None


def _is_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip(os.sep)}{os.sep}")
