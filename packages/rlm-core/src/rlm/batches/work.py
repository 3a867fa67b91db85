"""Runs one task on a host: working copy, set-up, agent, verification. Every outcome is a result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex

from msgspec.structs import replace as with_fields

from rlm.batches.recovery import result_of
from rlm.batches.results import TaskResult
from rlm.batches.tasks import BatchTask, Job
from rlm.batches.workdirs import Workdirs
from rlm.broker.payload import pack
from rlm.config.child_env import child_environment
from rlm.config.credentials import redactor_of
from rlm.config.environment import shell_program
from rlm.config.settings import Config
from rlm.core.task import RunResult
from rlm.errors import AgentError, CredentialsError, RlmError
from rlm.host.answers import AnswerSchema
from rlm.host.factories import open_sandbox_policy
from rlm.host.host import Host
from rlm.host.spec import AgentSpec, context_file
from rlm.process import files
from rlm.process.supervisor import ProcessGroups
from rlm.sandbox import Sandbox, SandboxPolicy
from rlm.sessions import Session
from rlm.text.clip import clip
from rlm.tools.bash import Bash

_LAST_LINE = 1_000  # maximum characters
_OUTPUT = 100_000  # maximum characters of a command's output that are read


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """The settings that all tasks of a batch share."""

    config: Config
    cwd: Path
    """The working directory of tasks that name none."""
    workdirs: Workdirs | None = None
    atif: bool = False
    setup: str | None = None
    verify: str | None = None
    began: Callable[[Job, Session], None] = field(default=lambda _job, _session: None)
    """Called with a job and its session when the session starts."""


class TaskWorker:
    """Runs tasks, many at once."""

    def __init__(self, host: Host, settings: BatchSettings) -> None:
        self._host = host
        self._settings = settings

    async def work(self, job: Job) -> TaskResult:
        """
        Raises:
            CredentialsError: no task can be worked on.
        """
        began = time.monotonic()
        ended, workdirs = result_of(job, job.session) if job.session else None, self._settings.workdirs
        if ended is None or (workdirs is not None and not workdirs.has(job)):  # verification needs its folder
            job, ended = replace(job, session=None), None
        try:
            async with self._folder(job) as cwd:
                result = await self._verified(job, ended, cwd) if ended else await self._work_in(job, cwd)
        except CredentialsError:
            raise
        except (RlmError, OSError) as error:
            result = failed(job, str(error))
        return with_fields(result, duration=round(result.duration * bool(ended) + time.monotonic() - began, 3))

    @asynccontextmanager
    async def _folder(self, job: Job) -> AsyncIterator[Path]:
        if self._settings.workdirs is None:
            yield self._settings.cwd / (job.task.cwd or "")
            return
        async with self._settings.workdirs.copy_for(job) as copy:
            yield copy / (job.task.cwd or "")

    async def _work_in(self, job: Job, cwd: Path) -> TaskResult:
        task, config = job.task, job.task.settings(self._settings.config)
        if setup := task.setup or self._settings.setup:
            code, last = await self._command(setup, config, cwd, task.env or {})
            if code != 0:
                return failed(job, f"setup: {_end(code, config)}{f': {last}' if last else ''}")
        return await self._verified(job, await self._run_agent(job, config, cwd), cwd)

    async def _verified(self, job: Job, result: TaskResult, cwd: Path) -> TaskResult:
        task, config = job.task, job.task.settings(self._settings.config)
        verify = task.verify or self._settings.verify
        if verify and result.status != "error":
            code, last = await self._command(verify, config, cwd, task.env or {}, result.session_dir)
            result = with_fields(result, reward=float(code == 0), verify=last or _end(code, config))
        return result

    # ---- the agent

    async def _run_agent(self, job: Job, config: Config, cwd: Path) -> TaskResult:
        """
        Raises:
            RlmError: the agent could not start.
        """
        async with AsyncExitStack() as stack:
            spec = self._spec(job.task, config, cwd, stack)
            run = await self._host.new_run(spec, ahead=False)
            answer: RunResult | None = None
            error = ""
            try:
                async with run:
                    assert run.session is not None, "it has been opened"
                    self._settings.began(job, run.session)
                    answer = await run.ask(spec.task)
            except CredentialsError:
                raise
            except RlmError as failure:
                if run.session is None:
                    raise
                error = "" if isinstance(failure, AgentError) and failure.stop == "timeout" else str(failure)
        assert run.session is not None, "else it has been raised"
        if self._settings.atif:
            await asyncio.to_thread(_write_trajectory, run.session.folder)
        return self._result(job, run.session, answer, error)

    def _spec(self, task: BatchTask, config: Config, cwd: Path, stack: AsyncExitStack) -> AgentSpec:
        if task.context is None:
            context = context_file(config.context)
        else:
            context = pack(task.context, self._host.supervisor.folder)
            stack.callback(files.remove, context.path)
        return AgentSpec(
            task.prompt,
            config,
            cwd,
            context,
            task.system_prompt,
            schema=None if task.schema is None else AnswerSchema(task.schema),
            environment=task.env or {},
        )

    def _result(self, job: Job, session: Session, answer: RunResult | None, error: str) -> TaskResult:
        end = session.result()
        return TaskResult(
            id=job.task.id,
            rollout=job.rollout,
            status="error" if error else end.status,
            stop_reason=end.stop_reason,
            answer=end.answer,
            value=redactor_of(self._settings.config).value(answer.value) if answer else None,
            usage=end.usage,
            cost=session.tree_usage.cost,
            turns=end.turns,
            agents=end.agents,
            session_dir=str(session.folder),
            error=error or end.error,
            metadata=job.task.metadata,
        )

    # ---- commands

    async def _command(
        self, command: str, config: Config, cwd: Path, env: Mapping[str, str], session: str | None = None
    ) -> tuple[int | None, str]:
        """Run a shell command. Return its exit code (None if it took too long) and its last line of output.

        If the sandbox is on, the command runs in one, as the agent does: verification may run code that this agent
        wrote. Set-up may run code that another agent wrote, in a shared folder or through the git objects of a
        worktree's repository.
        """
        supervisor, environment = self._host.supervisor, {**child_environment(config), **env}
        async with AsyncExitStack() as stack:
            folder = supervisor.folder / f"command-{token_hex(8)}"
            files.make_folder(folder)
            stack.callback(files.remove_tree, folder)
            sandbox = None
            if (policy := await stack.enter_async_context(self._policy(config, cwd, environment))) is not None:
                environment = policy.environment(environment)
                shown = [Path(session)] if session else []
                sandbox = await stack.enter_async_context(Sandbox(policy, folder, shown))
            shell = Bash(
                cwd if sandbox else files.resolve(cwd), environment, folder, config.exec_timeout, _OUTPUT,
                lambda _: None, sandbox.command if sandbox else None,
                groups=ProcessGroups(supervisor), shell=shell_program(),
            )  # fmt: skip
            with closing(shell):
                code, output = await shell.execute(command, config.exec_timeout)
        text = redactor_of(config).text(output).rstrip()
        return code, clip(text.rpartition("\n")[2].strip(), _LAST_LINE)

    @asynccontextmanager
    async def _policy(
        self, config: Config, cwd: Path, environment: Mapping[str, str]
    ) -> AsyncIterator[SandboxPolicy | None]:
        """The sandbox policy of a command. It shows the same files as the agent's own policy."""
        prompt_context = await self._host.prompt_context(config) if config.sandboxed else None
        async with open_sandbox_policy(config, cwd, self._host.supervisor, environment, prompt_context) as policy:
            yield policy


def failed(job: Job, reason: str) -> TaskResult:
    """The result of a task that has no session."""
    return TaskResult(
        id=job.task.id,
        rollout=job.rollout,
        status="error",
        stop_reason="error",
        error=reason,
        metadata=job.task.metadata,
    )


def _end(code: int | None, config: Config) -> str:
    return f"exit code {code}" if code is not None else f"timed out after {config.exec_timeout:g} s"


def _write_trajectory(folder: Path) -> None:
    from rlm.present.export import Format, export
    from rlm.sessions.store import read_tree

    text = "".join(export(read_tree(folder), Format.ATIF))
    files.replace(folder / "trajectory.json", text.encode())
