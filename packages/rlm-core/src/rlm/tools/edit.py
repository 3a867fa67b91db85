"""The tool `edit`: replace a text that occurs exactly once in a file."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from rlm.core.history import History
from rlm.core.messages import Outcome, Schema
from rlm.core.ports import SandboxedCommand
from rlm.errors import ToolError
from rlm.tools import replace


class Edit:
    """Edit files. `path` is relative to `cwd`. With `sandboxed`, files are read and written under a sandbox's rules."""

    name = "edit"

    def __init__(self, cwd: Path, sandboxed: SandboxedCommand | None = None) -> None:
        self._cwd = cwd
        self._sandboxed = sandboxed

    def schema(self) -> Schema:
        text = {"type": "string"}
        return {
            "name": self.name,
            "description": "Replace old_str, which must occur exactly once in the file, by new_str.",
            "parameters": {
                "type": "object",
                "properties": {"path": text, "old_str": text, "new_str": text},
                "required": ["path", "old_str", "new_str"],
            },
        }

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:  # noqa: ARG002 - the port's signature
        path, old, new = arguments["path"], arguments["old_str"], arguments["new_str"]
        if self._sandboxed:
            return Outcome(await self._run_sandboxed(self._sandboxed, path, old, new))
        return Outcome(await asyncio.to_thread(replace.edit, self._cwd, path, old, new))

    async def _run_sandboxed(self, sandboxed: SandboxedCommand, *arguments: str) -> str:
        """Edit in a program in the sandbox, and return its result.

        Raises:
            ToolError: the file was not changed.
        """
        argv = await sandboxed(self._cwd, sys.executable, "-P", "-m", replace.__name__)
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={}, cwd="/", start_new_session=True
        )
        try:
            result, problem = await process.communicate(json.dumps(arguments).encode())
        except BaseException:  # in Python 3.11, a cancelled communicate() leaves stdin open, and the program would wait
            process.kill()
            raise
        if process.returncode == 0:
            return str(json.loads(result))
        raise ToolError(problem.decode(errors="replace").strip() or "The file was not changed.")
