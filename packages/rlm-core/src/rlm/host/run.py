"""One tree of agents: its limits, its sandbox policy, its root session."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm.broker.payload import ContextPayload
from rlm.config.credentials import redactor_of
from rlm.config.environment import state_folder
from rlm.config.sources import check_timeout, recorded_settings
from rlm.core.task import RunResult, check_task
from rlm.errors import ConfigError, RlmError
from rlm.host.answers import AnswerSchema
from rlm.host.factories import mcp_clients, open_sandbox_policy
from rlm.host.runner import AgentRunner
from rlm.host.spec import AgentSpec, RunContext
from rlm.process import files
from rlm.sessions import Changes, Session
from rlm.sessions.records import Record
from rlm.sessions.signing_key import SigningKey, key_or_none
from rlm.text.encodings import decode
from rlm.version import VERSION

Watch = Callable[[Record], None]
"""Receives every record of every agent of the run, as it is created."""


class Run:
    """Owns the root agent of a run and the parts that its sub-agents share. Use it as a context manager.

    `session` is the root's, and stays readable after the end.
    """

    def __init__(self, context: RunContext, spec: AgentSpec, watch: Watch | None = None) -> None:
        self.session: Session | None = None
        self._context = context
        self._spec = spec
        self._watch = watch
        self._stack = AsyncExitStack()
        self._root: AgentRunner | None = None
        self._working = self._closed = False

    async def __aenter__(self) -> Self:
        """Open the sandbox policy, the session and the root agent.

        Raises:
            RlmError: something that the run needs is unavailable. Nothing has been changed then.
        """
        key = key_or_none(state_folder(), make=True)  # before the sandbox exists, which hides the key
        async with self._stack as stack:
            context, spec = await self._open_sandbox_policy(stack)
            spec = _with_files_read(spec)
            self.session = self._open_session(spec, key)
            servers = mcp_clients(spec.config, spec.cwd, context.supervisor, context.prompt_context.names)
            context = replace(context, mcp=servers)
            context.limits.add_earlier(self.session.agents, self.session.tree_usage)
            with self._errors_with_session():
                self._root = await stack.enter_async_context(AgentRunner(context, spec, self.session))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        await self._stack.__aexit__(kind, error, trace)

    @property
    def agent(self) -> AgentRunner:
        """The root agent."""
        assert self._root is not None, "use it as a context manager"
        return self._root

    async def ask(self, task: str, timeout: float | None = None, pictures: Sequence[str] = ()) -> RunResult:
        """Ask the root agent, as `AgentRunner.ask` does. An error has `session_dir` and `usage`.

        Raises:
            AgentError: the time is over; its `stop` is `timeout`.
            ConfigError: it works on another task, or is closed.
            RlmError: it failed.
        """
        with self._errors_with_session():
            if self._closed:
                raise ConfigError("The agent is closed: ask it within `async with`.")
            if self._working:
                raise ConfigError("The agent works on another task: wait for its result, or open another agent.")
            self._working = True
            try:
                return await self.agent.ask(check_task(task), check_timeout(timeout), pictures)
            finally:
                self._working = False

    @contextmanager
    def _errors_with_session(self) -> Iterator[None]:
        """Add the session's folder and the tree's usage to errors."""
        try:
            yield
        except RlmError as error:
            if self.session is not None:
                error.session_dir, error.usage = self.session.folder, self.session.tree_usage
            raise

    async def _open_sandbox_policy(self, stack: AsyncExitStack) -> tuple[RunContext, AgentSpec]:
        """Open the sandbox policy, if one was asked for, and inspect the repositories that cells may change."""
        context, spec, config = self._context, self._spec, self._spec.config
        policy = await stack.enter_async_context(
            open_sandbox_policy(config, spec.cwd, context.supervisor, context.environment, context.prompt_context)
        )
        if policy is None:
            return context, replace(spec, cwd=files.resolve(spec.cwd), context=self._open_context_file(stack))
        from rlm.sandbox import open_inspection

        home, keep = policy.cwd / config.home, config.keep_repositories
        looking = open_inspection(policy.cwd, policy.git, home, state_folder(), keep=keep)
        inspection = await asyncio.to_thread(stack.enter_context, looking)
        environment = policy.environment(context.environment)
        context = replace(context, policy=policy, environment=environment, inspection=inspection)
        return context, replace(spec, cwd=policy.cwd)  # in the sandbox, a link that leads to it may be hidden

    def _open_context_file(self, stack: AsyncExitStack) -> ContextPayload | None:
        """Share a file that the user named, by a descriptor. All kernels get the same file, even if its name is reused.

        In a sandbox it is a mount, which no cell can change.
        """
        payload = self._spec.context
        if payload is None or payload.kind != "file" or sys.platform != "linux":
            return payload
        file = files.open_file(payload.path)
        stack.callback(os.close, file)
        self._context.kernels.share(file)
        return replace(payload, path=Path(f"/proc/self/fd/{file}"))

    def _open_session(self, spec: AgentSpec, key: SigningKey | None) -> Session:
        config, settings = spec.config, recorded_settings(spec.config)
        if spec.earlier is None:
            return Session.create(
                config.home,
                model=config.model,
                cwd=spec.cwd,
                prompt=spec.task,
                redactor=redactor_of(config),
                watch=self._watch,
                version=VERSION,
                settings=settings,
                key=key,
                runtime=self._context.supervisor.folder,
            )
        return Session.resume(
            spec.earlier.folder,
            fork=spec.earlier.fork,
            trust=spec.earlier.doubt != "",
            changes=Changes(config.model, spec.cwd, settings, spec.earlier.notes),
            redactor=redactor_of(config),
            watch=self._watch,
            version=VERSION,
            key=key,
            runtime=self._context.supervisor.folder,
        )


def _with_files_read(spec: AgentSpec) -> AgentSpec:
    """Read the files that settings name once, before a cell runs.

    All agents of the run get the system prompt, unless a call names another. The schema is that of the root's answer.
    """
    prompt, schema, config = spec.system_prompt, spec.schema, spec.config
    if prompt is None and config.system_prompt_path is not None:
        prompt = decode(_read("system prompt", config.system_prompt_path))
    if schema is None and config.schema is not None:
        schema = AnswerSchema.from_text(_read("schema", config.schema))
    return replace(spec, system_prompt=prompt, schema=schema)


def _read(what: str, path: Path) -> bytes:
    try:
        return files.read(path)
    except OSError as error:
        raise ConfigError(f"The {what} {path} cannot be read: {error.strerror}.") from None
