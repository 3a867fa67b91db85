"""The composition root: settings to a run. Here and in `node` and `supplies` alone are adapters named.

A `Run` is a run; a `AgentRunner` in it is one agent at work. Every agent is a task on the host's event loop; a kernel only
asks.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlm.broker.capacity import HostCapacity
from rlm.broker.limits import TreeLimits
from rlm.broker.payload import ContextPayload, from_file
from rlm.config.child_env import guest_environment
from rlm.config.credentials import redactor_of
from rlm.config.environment import shell_program, state_folder
from rlm.config.settings import Config, recorded_settings
from rlm.core.result import RunResult
from rlm.errors import ConfigError
from rlm.host.factories import MEGABYTE, open_models, open_sandbox_policy
from rlm.host.runner import AgentRunner, AgentSpec, ResumeOptions, RunContext
from rlm.kernel import KernelServer
from rlm.process import files
from rlm.process.interpreter import project_python
from rlm.process.private_dir import private_folder
from rlm.sandbox import open_inspection
from rlm.sessions import Changes, Session
from rlm.sessions.signing_key import SigningKey, key_or_none
from rlm.skills import Place, PromptContext
from rlm.text.bounded import Quota
from rlm.text.encodings import decode
from rlm.version import VERSION

__all__ = ["AgentSpec", "ResumeOptions", "Run", "Watch", "context_file", "open_run"]

Watch = Callable[[dict[str, Any]], None]
"""Sees every record of every agent of the tree, as `--json` prints it."""

_FILES = 16_384  # open at once


@dataclass(slots=True)
class Run:
    """A run and all that is in it. `session` is the root's, from the moment it runs."""

    shared: RunContext
    watch: Watch | None = None
    session: Session | None = None

    async def run(self, order: AgentSpec) -> RunResult:
        """Run the root agent.

        Raises:
            RlmError: what it could not survive; its session says so too.
        """
        config = order.config
        key = key_or_none(state_folder(), make=True)  # before the sandbox is made, which hides it
        async with AsyncExitStack() as stack:
            walls = await stack.enter_async_context(
                open_sandbox_policy(
                    config, order.cwd, self.shared.folder, self.shared.environment, self._told_of(order)
                )
            )
            shared = replace(self.shared, walls=walls)
            if walls is None:
                order = replace(order, cwd=files.resolve(order.cwd), context=self._held(order.context, stack))
            else:
                order = replace(order, cwd=walls.cwd)  # a link that leads to it may be hidden
                home, keep = walls.cwd / config.home, config.keep_repositories
                inspecting = open_inspection(walls.cwd, walls.git, home, state_folder(), keep=keep)
                inspection = await asyncio.to_thread(stack.enter_context, inspecting)
                environment = walls.environment(self.shared.environment)
                shared = replace(shared, environment=environment, inspection=inspection)
            order = replace(order, system_prompt=_system_prompt(order))
            self.session = self._open_session(order, key)
            shared.ledger.carry_on(self.session.agents, self.session.tree_usage)
            return await AgentRunner(shared, order, self.session).run()

    def _told_of(self, order: AgentSpec) -> list[Path]:
        """What the prompt names outside of the project: it must be there for a cell in a sandbox, too."""
        config, cwd = order.config, files.resolve(order.cwd)
        if config.sandbox == "off" or not config.tools:
            return []
        python = project_python(cwd, self.shared.environment)
        environment = [Path(cwd, python).parents[1]] if python.endswith("/bin/python") else []
        return [*environment, *self.shared.briefing.files(cwd)]

    def _held(self, context: ContextPayload | None, stack: AsyncExitStack) -> ContextPayload | None:
        """A file that the user named, as a descriptor of all kernels: each gets the same one, whatever has its name.

        In a sandbox it is a mount, which no cell can change.
        """
        if context is None or context.kind != "file" or sys.platform != "linux":
            return context
        file = files.open_file(context.path)
        stack.callback(os.close, file)
        self.shared.zygote.share(file)
        return replace(context, path=Path(f"/proc/self/fd/{file}"))

    def _open_session(self, order: AgentSpec, key: SigningKey | None) -> Session:
        config, redactor, told = order.config, redactor_of(order.config), VERSION
        settings = recorded_settings(config)
        if order.earlier is None:
            return Session.create(
                config.home,
                model=config.model,
                cwd=order.cwd,
                prompt=order.task,
                redactor=redactor,
                watch=self.watch,
                version=told,
                settings=settings,
                key=key,
            )
        earlier = order.earlier
        return Session.resume(
            earlier.folder,
            fork=earlier.fork,
            trust=earlier.trust,
            changes=Changes(config.model, order.cwd, settings, earlier.notes),
            redactor=redactor,
            watch=self.watch,
            version=told,
            key=key,
        )


@asynccontextmanager
async def open_run(config: Config, *, watch: Watch | None = None, stream: bool = False) -> AsyncIterator[Run]:
    """Own the model's client, the limits and the runtime folder of one run. `stream`: somebody watches the text.

    Raises:
        RlmError: what was asked for is not to be had; nothing has been changed then.
    """
    _allow_many_files()
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(open_models(config, stream=stream))
        folder = stack.enter_context(private_folder())
        ledger = TreeLimits(
            tokens=config.max_tokens,
            agents=config.max_agents,
            depth=config.max_depth,
            working=config.max_concurrent_agents,
        )
        zygote = await stack.enter_async_context(KernelServer(sealed=config.sandbox != "off"))
        environment = guest_environment(config)
        briefing = PromptContext(Place.of(config), context_files=not config.no_context_files)
        if {"ipython", "bash"} & set(config.tools):
            await asyncio.to_thread(briefing.look)
        most = config.sandbox_file_size * MEGABYTE
        quota = Quota(most, most)
        yield Run(
            RunContext(ledger, HostCapacity(), models, zygote, folder, environment, briefing, shell_program(), quota),
            watch,
        )


def _allow_many_files() -> None:
    """A thousand sub-agents from one gather are as many sockets, here and in the kernel, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _system_prompt(order: AgentSpec) -> str | None:
    """Read once, before a cell runs. All agents of the run get it, unless their call names another."""
    path = order.config.system_prompt_path
    if order.system_prompt is not None or path is None:
        return order.system_prompt
    try:
        return decode(files.read(path))
    except OSError as error:
        raise ConfigError(f"The system prompt {path} cannot be read: {error.strerror}.") from None


def context_file(path: Path | None) -> ContextPayload | None:
    """`--context FILE`: by reference, however large."""
    return None if path is None else from_file(path)
