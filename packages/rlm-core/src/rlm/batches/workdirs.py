"""A working copy of a folder for each task: a git worktree if the folder is a repository, else a plain copy."""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rlm.batches.tasks import Job
from rlm.config.environment import program
from rlm.errors import ConfigError, RlmError
from rlm.process import files
from rlm.process.programs import helper_environment

# Disables everything in the repository's own configuration that would run a program.
_OBEY_NOTHING = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")


class Workdirs:
    """Creates working copies in `folder`, and removes them afterwards unless they are kept."""

    def __init__(self, source: Path, folder: Path, *, keep: bool) -> None:
        """`folder` and `source` are absolute, without links.

        Raises:
            ConfigError: `source` is a repository, and git is not installed.
        """
        self.source = source
        self._folder = folder
        self._keep = keep
        self._one_at_a_time = asyncio.Lock()
        self._commit = ""
        """The commit of all copies; fixed because an agent may move HEAD's branch."""
        self._git = program("git") if os.path.lexists(source / ".git") else None
        if self._git is None and os.path.lexists(source / ".git"):
            raise ConfigError(f"{source} is a git repository, but there is no git to create worktrees of it.")

    def has(self, job: Job) -> bool:
        """Whether the working copy of a job exists."""
        return (self._folder / job.name).is_dir()

    @asynccontextmanager
    async def copy_for(self, job: Job) -> AsyncIterator[Path]:
        """
        Raises:
            RlmError: the copy cannot be created.
        """
        target = self._folder / job.name
        try:
            if job.session is None:
                await self._remove(target)  # left by a killed batch
                await self._make(target)
            yield target
        finally:
            if not self._keep:
                await self._remove(target)

    async def _make(self, target: Path) -> None:
        os.close(files.open_folder(self._folder, make=True))
        if self._git is not None:
            self._commit = self._commit or await self._run_git("rev-parse", "--verify", "HEAD^{commit}")
            await self._run_git("worktree", "add", "--detach", "--force", str(target), self._commit)
            return
        try:
            await asyncio.to_thread(files.copy_working_tree, self.source, target, self._folder.parent)
        except OSError as error:
            raise RlmError(f"{self.source} cannot be copied: {error.filename}: {error.strerror}.") from None

    async def _remove(self, target: Path) -> None:
        if not target.is_dir():  # noqa: ASYNC240 - on the user's own disk, like all files that a run opens
            return
        await asyncio.to_thread(files.remove_tree, target)
        if self._git is not None:
            await self._run_git("worktree", "prune")

    async def _run_git(self, *words: str) -> str:
        """Run git and return its output. One call at a time: concurrent writes to the same repository conflict."""
        async with self._one_at_a_time:
            process = await asyncio.create_subprocess_exec(
                *(str(self._git), "-C", str(self.source), *_OBEY_NOTHING, *words),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                cwd="/",
                env=helper_environment(GIT_TERMINAL_PROMPT="0", LC_ALL="C"),
            )
            out, said = await process.communicate()
        if process.returncode:
            reason = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise RlmError(f"git {words[0]} {words[1]} of {self.source}: {reason}.")
        return out.decode().strip()
