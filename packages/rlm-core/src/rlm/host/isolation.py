"""A sub-agent that works in its own git worktree (`isolation="worktree"`)."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlm.errors import AgentError
from rlm.process import worktree
from rlm.process.programs import helper_environment
from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.process.worktree import MakePatch, MakeWorktree

if TYPE_CHECKING:
    from rlm.sandbox import Sandbox

_TIMEOUT = 600.0  # seconds for a copy, or for a patch


class Worktree:
    """A worktree in a folder of the host's. It is removed with the agent, also if the host is killed."""

    def __init__(self, git: Path, folder: Path, groups: ProcessGroups, sandbox: Sandbox | None) -> None:
        self._git = str(git)
        self._folder = folder
        self._groups = groups
        self._sandbox = sandbox

    async def make(self, cwd: Path, skip: Path) -> Path:
        """Create the worktree. Return the folder in it that corresponds to `cwd`.

        Raises:
            AgentError: it cannot be created.
        """
        wanted = MakeWorktree(self._git, str(self._folder), str(cwd), str(skip))
        return Path(os.fsdecode(await self._run(wanted)))

    async def patch(self) -> str:
        """Return the changes since the copy was created. Bytes that are no UTF-8 are lone surrogates, as in
        `os.fsdecode`.

        Raises:
            AgentError: the patch cannot be created.
        """
        return (await self._run(MakePatch(self._git, str(self._folder)))).decode("utf-8", "surrogateescape")

    async def _run(self, wanted: MakeWorktree | MakePatch) -> bytes:
        argv: tuple[str, ...] = (sys.executable, "-P", "-m", worktree.__name__)
        if self._sandbox is not None:
            argv = await self._sandbox.command(Path("/"), *argv)
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd="/", start_new_session=True,
            env=helper_environment() | self._groups.environment(),
        )  # fmt: skip
        self._groups.adopt(process.pid)
        try:
            async with asyncio.timeout(_TIMEOUT):
                result, problem = await process.communicate(worktree.request(wanted))
        except TimeoutError:
            raise AgentError(f"the worktree is not done after {_TIMEOUT:g} s") from None
        finally:
            if process.returncode is None:
                self._groups.kill(process.pid)
                await process.wait()
            self._groups.settle(process.pid)
        if process.returncode:
            raise AgentError(f"isolation='worktree': {problem.decode(errors='replace').strip()}")
        return result


@contextmanager
def open_worktree(
    git: Path | None, folder: Path, supervisor: Supervisor, sandbox: Sandbox | None
) -> Iterator[Worktree]:
    """Open a worktree for one agent.

    Raises:
        AgentError: there is no git.
    """
    if git is None:
        raise AgentError("isolation='worktree' needs git, and there is none on PATH")
    with closing(ProcessGroups(supervisor)) as groups:
        yield Worktree(git, folder, groups, sandbox)
