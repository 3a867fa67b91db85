"""The composition root: the parts that all agents of a host share, such as model clients and kernel servers."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from rlm.broker.limits import TreeLimits
from rlm.broker.payload import ContextPayload, from_file, pack
from rlm.broker.server import HostCapacity
from rlm.config.child_env import child_environment
from rlm.config.environment import program, shell_program
from rlm.config.settings import Config
from rlm.config.sources import (
    FilePath,
    HostSettings,
    RunSettings,
    check_run_settings,
    read_config,
    read_folder,
    with_values,
)
from rlm.core.exit_codes import INTERRUPTED, of_error, of_stop
from rlm.core.task import NO_NEW_TASK, NOT_GIVEN, RunResult, check_task
from rlm.errors import ConfigError, RlmError
from rlm.host.agent_tool import Approve
from rlm.host.answers import AnswerSchema
from rlm.host.cache_warmup import CacheWarmup
from rlm.host.factories import MEGABYTE, ModelFactory
from rlm.host.run import Run, Watch
from rlm.host.spec import AgentSpec, RunContext
from rlm.kernel import KernelServer
from rlm.process import files
from rlm.process.supervisor import Supervisor
from rlm.providers.limiter import Gate
from rlm.sessions import Session
from rlm.sessions.metrics import no_result
from rlm.sessions.records import Record, wire
from rlm.skills import PromptContext, Skills, SkillSearch, find_skills
from rlm.text.bounded import Quota

_OPEN_FILES = 16_384  # open at once
_SKILLS_LIFETIME = 60.0  # seconds for which a host does not search for skills again


class Host:
    """Owns the parts that runs share, and serves many runs at once. It lives as long as the process needs agents.

    Every agent is a task on the host's event loop; kernels only send requests. Use it as a context manager. All runs
    have the same `base_url`, `api_key` and `sdk_max_retries`. Other settings are defaults, which each run may change.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        request_ids: bool = False,
        gate: Gate | None = None,
        **settings: Unpack[HostSettings],
    ) -> None:
        """Settings by name override those of the environment.

        `request_ids`: see `rlm.providers.attempt.REQUEST_ID`. `gate` limits requests together with those of other
        hosts.

        Raises:
            ConfigError: a setting is not allowed.
        """
        self.config = config = config or read_config({}, named=settings)
        self._named: dict[str, object] = {**settings}
        self._models = ModelFactory(config, request_ids=request_ids, gate=gate)
        self._capacity = HostCapacity()
        self._kernels: dict[bool, KernelServer] = {}
        self._skills: dict[tuple[str, ...], tuple[float, Skills]] = {}
        self._skill_search = asyncio.Lock()
        self._supervisor: Supervisor | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the private folder and the model clients.

        Raises:
            ConfigError: the private folder cannot be created anywhere.
        """
        _allow_many_files()
        async with self._stack as stack:
            await stack.enter_async_context(self._models)
            self._supervisor = stack.enter_context(Supervisor())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)
        self._supervisor = None

    @property
    def supervisor(self) -> Supervisor:
        """The owner of the private folder, for sockets and for data that goes to kernels."""
        assert self._supervisor is not None, "use it as a context manager"
        return self._supervisor

    async def check(self, config: Config) -> None:
        """Check that there is a model for runs with these settings.

        Raises:
            CredentialsError: there is no key and no endpoint.
            ConfigError: there is no such model.
        """
        await self._models.check(config)

    async def new_run(
        self,
        spec: AgentSpec,
        *,
        watch: Watch | None = None,
        stream: bool = False,
        ahead: bool = True,
        approve: Approve | None = None,
    ) -> Run:
        """Return a run, to be entered.

        Args:
            stream: somebody watches the model's text.
            ahead: start kernels while the model works. Without it they take no memory before their first cell.
            approve: asks the user before each cell, command and edit, if `confirm` is set.

        Raises:
            RlmError: something that the run needs is unavailable; nothing has been changed then.
        """
        if self._supervisor is None:
            raise ConfigError("The host is not open: use it within `async with`.")
        if spec.config.confirm and approve is None:
            raise ConfigError("--confirm asks at the prompt: start `rlm` without a task.")
        context = await self._new_context(spec.config)
        context = replace(
            context,
            stream=stream,
            ahead=ahead,
            approve=approve if spec.config.confirm else None,
            environment={**context.environment, **spec.environment},
            appends=spec.appends,
        )
        return Run(context, spec, watch)

    async def prompt_context(self, config: Config) -> PromptContext:
        """Return the skills and context files that the prompts of runs with these settings name."""
        place = SkillSearch.of(config)
        skills = await self._find_skills(place) if {"ipython", "bash"} & set(config.tools) else None
        return PromptContext(place, context_files=not config.no_context_files, skills=skills)

    async def model_names(self) -> list[str]:
        """Return the models that the endpoint lists; empty if it has no list, or no run has needed it yet."""
        return await self._models.names()

    @asynccontextmanager
    async def open(
        self,
        *,
        session: FilePath | None = None,
        id: str | None = None,
        fork: bool = False,
        replay: bool = False,
        rerun_agents: bool = False,
        trust: bool = False,
        context: object = NOT_GIVEN,
        cwd: FilePath | None = None,
        system_prompt: str | None = None,
        schema: object = None,
        watch: Callable[[dict[str, Any]], None] | None = None,
        **settings: Unpack[RunSettings],
    ) -> AsyncIterator[Run]:
        """Open an agent with its own session and kernel, for any number of tasks: `await agent.ask("task")`.

        With `session` or `id` it continues that session, with the session's settings unless the call names others.

        Args:
            session: a session to continue: its folder, such as a result's `session_dir`, or its id.
            id: the id of a session, or enough of its first digits to be unique in `home`.
            fork: continue with a copy; the session stays unchanged.
            replay: run the cells of the session again first, so that its variables exist.
            rerun_agents: run sub-agents and model calls again, also those that have a recorded result.
            trust: continue a session that this user has not created on this machine.
            context: any picklable object; the agent finds it in its kernel as `context`.
            cwd: its working directory. The default is the current one, or that of the session, which must be inside it.
            system_prompt: replaces the built-in one.
            schema: the required form of each answer, as in `rlm.run`.
            watch: gets every record of the run; docs/sessions.md describes them.

        Raises:
            RlmError: something that the run needs is unavailable; nothing has been changed then.
        """
        if session is not None and id is not None:
            raise ConfigError("Name the session by `session` or by `id`, not by both.")
        wanted = session if session is not None else id
        if wanted is None:
            if fork or replay or rerun_agents or trust:
                raise ConfigError("fork, replay, rerun_agents and trust need a session to continue: name it.")
            spec = self._spec("", settings, context=context, cwd=cwd, system_prompt=system_prompt, schema=schema)
        else:
            options = {"fork": fork, "replay": replay, "rerun_agents": rerun_agents, "trust": trust}
            spec = await self._resumed(wanted, settings, context, cwd, **options)
            spec = replace(spec, system_prompt=system_prompt, schema=_schema(schema))
        as_json = None if watch is None else lambda record: watch(wire(record))
        async with await self.new_run(spec, watch=as_json) as run:
            yield run

    async def run(
        self,
        task: str,
        *,
        context: object = NOT_GIVEN,
        cwd: FilePath | None = None,
        system_prompt: str | None = None,
        schema: object = None,
        **settings: Unpack[RunSettings],
    ) -> RunResult:
        """Run an agent on `task` and wait for its answer. Cancellation cancels the agent. Arguments as in `open`.

        Raises:
            AgentError: the seconds of `timeout` are over.
            RlmError: it failed; with `session_dir` and `usage`, if it had begun.
        """
        spec = self._spec(
            check_task(task), settings, context=context, cwd=cwd, system_prompt=system_prompt, schema=schema
        )
        async with await self.new_run(spec) as run:
            return await run.ask(task)

    async def resume(
        self,
        session: FilePath,
        task: str = NO_NEW_TASK,
        *,
        fork: bool = False,
        replay: bool = False,
        rerun_agents: bool = False,
        trust: bool = False,
        context: object = NOT_GIVEN,
        cwd: FilePath | None = None,
        **settings: Unpack[RunSettings],
    ) -> RunResult:
        """Continue a session, named by its folder, its id or the first digits of the id. Arguments as in `open`.

        Raises:
            AgentError: the seconds of `timeout` are over.
            RlmError: it failed, or cannot be continued.
        """
        check_task(task)
        async with self.open(
            session=session,
            fork=fork,
            replay=replay,
            rerun_agents=rerun_agents,
            trust=trust,
            context=context,
            cwd=cwd,
            **settings,
        ) as run:
            return await run.ask(task)

    async def stream(
        self,
        task: str,
        *,
        context: object = NOT_GIVEN,
        cwd: FilePath | None = None,
        system_prompt: str | None = None,
        schema: object = None,
        **settings: Unpack[RunSettings],
    ) -> AsyncGenerator[dict[str, Any]]:
        """Run an agent as `run` does, and yield the records of its whole tree as they happen.

        Leaving the loop early cancels the run.

        Raises:
            RlmError: the run failed; its last record says so too.
        """
        make_spec = partial(
            self._spec, check_task(task), settings, context=context, cwd=cwd, system_prompt=system_prompt, schema=schema
        )
        records: asyncio.Queue[Record | None] = asyncio.Queue()
        running = asyncio.ensure_future(self._run_watched(make_spec, records.put_nowait))
        running.add_done_callback(lambda _: records.put_nowait(None))
        try:
            while (record := await records.get()) is not None:
                yield wire(record)
            await running
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _run_watched(self, make_spec: Callable[[], AgentSpec], watch: Watch) -> None:
        """Run the agent. The last record says how it ended, with the exit code that the command would have."""
        session: Session | None = None
        code, reason = INTERRUPTED, ""
        try:
            spec = make_spec()
            run = await self.new_run(spec, watch=watch, stream=True)
            try:
                async with run:
                    result = await run.ask(spec.task)
            finally:
                session = run.session
            code = of_stop(result.stop)
        except RlmError as error:
            code, reason = of_error(error), str(error)
            raise
        finally:
            watch((session.result() if session else no_result()).with_exit(code, reason))

    def _spec(
        self,
        task: str,
        settings: Mapping[str, object],
        *,
        context: object,
        cwd: FilePath | None,
        system_prompt: str | None,
        schema: object,
    ) -> AgentSpec:
        check_run_settings(settings)
        config = with_values(self.config, settings)
        folder = Path.cwd() if cwd is None else _folder(cwd)
        return AgentSpec(task, config, folder, self._payload(context), system_prompt, schema=_schema(schema))

    async def _resumed(
        self, session: FilePath, settings: Mapping[str, object], context: object, cwd: FilePath | None, **options: bool
    ) -> AgentSpec:
        """Run in a thread, because it reads all journals of the session."""
        from rlm.host.resume import resumed_spec, session_id
        from rlm.host.resumed_settings import GivenSettings

        check_run_settings(settings)
        id, home = session_id(session)
        chosen = GivenSettings(values={**self._named, **settings, **({"home": home} if home else {})})
        place = None if cwd is None else _folder(cwd)
        spec = await asyncio.to_thread(resumed_spec, id, chosen, Path.cwd(), cwd=place, **options)
        return replace(spec, context=self._payload(context) or spec.context)

    def _payload(self, context: object) -> ContextPayload | None:
        if isinstance(context, Path) and context.is_file():  # by path: the program names it
            return from_file(files.resolve(context))
        return None if context is NOT_GIVEN else pack(context, self.supervisor.folder)

    async def _new_context(self, config: Config) -> RunContext:
        await self._models.check(config)
        most = config.sandbox_file_size * MEGABYTE
        return RunContext(
            limits=TreeLimits(
                tokens=config.max_tokens,
                total_tokens=config.max_total_tokens,
                cost=config.max_cost,
                agents=config.max_agents,
                depth=config.max_depth,
                working=config.max_concurrent_agents,
                last_request=not config.no_final_answer,
            ),
            capacity=self._capacity,
            models=self._models,
            kernels=await self._kernel_server(sealed=config.sandboxed),
            supervisor=self.supervisor,
            environment=child_environment(config),
            prompt_context=await self.prompt_context(config),
            shell=shell_program(),
            git=program("git"),
            quota=Quota(most, most),
            warmup=CacheWarmup(enabled=not config.no_cache_wait),
        )

    async def _find_skills(self, place: SkillSearch) -> Skills:
        """Find skills in a thread, because it takes time, and once for all runs of a minute. Some skills are broken.

        A lock serialises the searches, also because CPython 3.11 fails to parse modules in several threads
        (SystemError).
        """
        async with self._skill_search:
            where, now = tuple(place.python_path), time.monotonic()
            since, skills = self._skills.get(where, (0.0, None))
            if skills is None or now > since + _SKILLS_LIFETIME:
                skills = await asyncio.to_thread(find_skills, place)
                self._skills[where] = now, skills
            return skills

    async def _kernel_server(self, *, sealed: bool) -> KernelServer:
        """Return the kernel server for sandboxed runs, or that for other runs. The first kernel starts its process."""
        if sealed not in self._kernels:
            server = KernelServer(sealed=sealed, mark=self.supervisor.new_mark())
            self._kernels[sealed] = await self._stack.enter_async_context(server)
        return self._kernels[sealed]


def _schema(wanted: object) -> AnswerSchema | None:
    return None if wanted is None else AnswerSchema.of_type(wanted)


def _folder(cwd: FilePath) -> Path:
    return read_folder("cwd", Path(cwd).absolute())


def _allow_many_files() -> None:
    """Raise the limit of open files: 1,000 sub-agents need 1,000 sockets, here and in the kernel, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # macOS allows fewer than it reports
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
