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
        self._cwd = str(cwd)
        self._files: dict[str, None] = {}
        self._commands = False

    def open(self) -> None:
        """Make the file that kernels write to. Without it they note nothing."""
        with suppress(OSError):
            files.write_new(self._notes, b"")

    def returned(self, result: ToolResult) -> None:
        """A call of a tool has ended."""
        if result.call.name == "bash":
            self._commands = True
        elif result.call.name == "edit" and result.ok:
            with suppress(ValueError, KeyError, TypeError):
                self._changed([str(json.loads(result.call.arguments)["path"])])

    def add(self, below: Effects) -> None:
        """A sub-agent has ended."""
        self._changed(below.files)
        self._commands |= below.commands

    @property
    def effects(self) -> Effects:
        return Effects(tuple(self._files), self._commands)

    def look(self) -> None:
        """Read what the kernel has noted, before its folder is removed."""
        with suppress(OSError):
            lines = files.read(self._notes, limit=_LONGEST).decode(errors="replace").splitlines()
            self._commands |= COMMAND in lines
            self._changed(line for line in lines if line != COMMAND)

    def _changed(self, paths: Iterable[str]) -> None:
        for path in paths:
            if len(self._files) < _MOST:
                inside = path.startswith(f"{self._cwd}{os.sep}")
                self._files[os.path.relpath(path, self._cwd) if inside else path] = None
