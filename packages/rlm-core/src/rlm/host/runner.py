"""One agent: opened once, asked any number of times, closed once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rlm.broker.limits import AgentLimits, Slot
from rlm.broker.server import Broker
from rlm.config.environment import BROKER
from rlm.config.settings import Config
from rlm.config.sources import override, recorded_settings
from rlm.core.agent import Agent, AgentResult
from rlm.core.budget import Stop, TurnLimit
from rlm.core.events import Delta, Effects, Event, Failed, Replied, RequestStarted, Stopped, ToolReturned
from rlm.core.messages import System, User, with_pictures
from rlm.core.ports import Model
from rlm.core.state import ConversationState
from rlm.core.task import RunResult
from rlm.core.toolbox import Toolbox
from rlm.errors import AgentError, ConfigError
from rlm.host.agent_parts import EarlyStart, new_folder, new_kernel, new_sandbox, new_tools
from rlm.host.answers import AnswerStore, no_fit
from rlm.host.cell_requests import CellRequestHandler
from rlm.host.effects import EffectLog
from rlm.host.factories import context_for
from rlm.host.opening import first_messages
from rlm.host.recorded_results import RecordedResults
from rlm.host.spec import AgentSpec, RunContext
from rlm.host.task_time import TaskTime
from rlm.host.user import UserChannel
from rlm.kernel import JupyterKernel
from rlm.process import files
from rlm.sessions import Changes, Session
from rlm.skills import CALLS, CallLog, count_calls

if TYPE_CHECKING:
    from rlm.host.isolation import Worktree
    from rlm.sandbox import Sandbox

_SHARING = 8
"""The number of agents of a run that share a cache key.

They begin alike. But if one key has more than about 15 requests in a minute, OpenAI distributes them over machines that
share no cache.
"""
_ASKED_AT = frozenset({Stop.MAX_TURNS, Stop.TIMEOUT, Stop.LENGTH})
_ROOT_ASKED_AT = _ASKED_AT | {Stop.TOKEN_BUDGET, Stop.COST_BUDGET}
"""Limits at which an agent is asked for its answer. The budget of the tree reserves enough for one such request."""


class AgentRunner:
    """Owns the parts of one agent: its session, broker, sandbox, kernel and tools. Use it as a context manager.

    `ask` may be called any number of times, one task at a time; the conversation and the kernel persist.
    """

    def __init__(
        self, context: RunContext, spec: AgentSpec, session: Session, slot: Slot | None = None, depth: int = 0
    ) -> None:
        self.session = session
        self._context = context
        self._spec = spec
        self._slot = slot or context.limits.new_slot()
        self._depth = depth
        self._stack = AsyncExitStack()
        self._time = TaskTime()
        self._turns = TurnLimit(spec.config.max_turns)
        self._worktree: Worktree | None = None
        self._requests: CellRequestHandler | None = None
        self._kernel: JupyterKernel | None = None
        self._calls: CallLog | None = None
        self._tools = Toolbox([])
        self._agent: Agent | None = None
        self._prefix: str | None = None  # of its requests, see `first_messages`; None before its first task
        self._stopped: Stopped | None = None
        self._early_start = EarlyStart(depth)
        self.user = UserChannel(self._on_event)
        self._task = ""  # the first task, by which a recording identifies its part
        self._effects = EffectLog(context.supervisor.folder / session.id, spec.cwd)
        rerun = spec.earlier is not None and spec.earlier.rerun_agents
        self._recorded = RecordedResults(session.root, spec.config.sandbox, self._on_event, rerun=rerun)

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            stack.enter_context(self.session)
            stack.callback(self._journal_stop)
            stack.callback(self._inspect_repositories)
            await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def ask(self, task: str, timeout: float | None = None, pictures: Sequence[str] = ()) -> RunResult:
        """Work on `task` until the agent stops, for at most `timeout` seconds, or the seconds of the setting.

        `pictures` are data URLs that belong to the task. Cancellation keeps the agent.

        Raises:
            AgentError: the time is over, and the model gave no answer when rlm asked for it.
            RlmError: the agent cannot continue.
        """
        timeout = timeout or self._spec.config.timeout
        async with self._slot:
            self._journal_stop()
            limit = self._time.begin(timeout, keeps=not self._spec.config.no_final_answer)
            try:
                async with limit:
                    agent, messages = await self._prepare(task, pictures)
                    result = await agent.run(*messages)
                if result.stop is Stop.TIMEOUT and not result.concluded:
                    raise self._timed_out(f"timed out after {timeout:g} s")
                done = self._result(result)
                return done if self._worktree is None else replace(done, patch=await self._worktree.patch())
            except TimeoutError:
                if not limit.expired():
                    raise  # not our timeout
                raise self._timed_out(f"timed out after {timeout:g} s") from None

    async def _prepare(self, task: str, pictures: Sequence[str]) -> tuple[Agent, list[System | User]]:
        """Return the agent, and the messages with which it begins this task. The first task creates the agent."""
        messages: list[System | User] = []
        if self._prefix is None:
            self._task = task
            self.session.name_after(task)
            state = self._agent.state if self._agent else None  # set if a resumed session was edited before this task
            self._agent = self._new_agent(state)
            messages, prefix = await first_messages(
                self._spec,
                self._context,
                self.session,
                self._depth,
                tools=self._tools,
                kernel=self._kernel,
                recorded=self._recorded,
                sink=self._on_event,
            )
            await self._context.warmup.wait(prefix)
            self._prefix = prefix  # only now: if this was cancelled or failed, the next task begins with these messages
        assert self._agent is not None, "it is created before the first task"
        self._turns.begin(self._agent.state.spent)
        self._answers.taken = None
        return self._agent, [*messages, *self.user.take_notes(), User(with_pictures(task, pictures))]

    # ---- for a front end, between two tasks

    @property
    def kernel(self) -> JupyterKernel | None:
        return self._kernel

    @property
    def effects(self) -> Effects:
        """Files that the agent and its descendants have changed; complete when it is closed."""
        return self._effects.effects

    @property
    def config(self) -> Config:
        return self._spec.config

    @property
    def skills(self) -> tuple[str, ...]:
        """The names of its skills."""
        return tuple(self._context.prompt_context.names)

    @property
    def prompt_tokens(self) -> int:
        """An estimate of the next prompt; 0 before the first reply."""
        return (self._agent.state if self._agent else self.session.start).prompt_tokens

    @property
    def window(self) -> int | None:
        """The size of the model's context in tokens; None if it is not known, or not yet."""
        return self._context.models.window(self._spec.config)

    def conversation(self) -> Agent:
        """Return the conversation, to be edited. Each edit is journalled after the last task.

        Raises:
            ConfigError: the conversation is empty.
        """
        if self._agent is None and not self.session.start.history.entries:
            raise ConfigError("Nothing has been said yet.")
        self._agent = self._agent or self._new_agent()
        self._journal_stop()
        return self._agent

    def use_model(self, name: str) -> None:
        """Use this model from the next request on.

        Raises:
            ConfigError: the name cannot be that of a model.
        """
        self._change(override(self._spec.config, {"model": name}))
        if self._agent is not None:
            self._agent.use_model(self._new_model(self._spec.config))

    async def use_budget(self, total_tokens: int, cost: float | None) -> None:
        """Set other limits of the whole tree: `max_total_tokens` and `max_cost`.

        Raises:
            ConfigError: the model has no price.
        """
        config = replace(self._spec.config, max_total_tokens=total_tokens, max_cost=cost)
        await self._context.models.check(config)
        self._context.limits.change(total_tokens=total_tokens, cost=cost)
        self._change(config)

    def _change(self, config: Config) -> None:
        """Change the settings of this agent, of its future sub-agents, and of a run that resumes the session."""
        self._spec = replace(self._spec, config=config)
        if self._requests is not None:
            self._requests.spec = self._spec
        self.session.change(Changes(config.model, settings=recorded_settings(config)))

    def _timed_out(self, reason: str) -> AgentError:
        """Return the error for a timeout: a limit of a root; a cancellation of a sub-agent, whose parent set it."""
        if self._depth:
            return AgentError(reason, Stop.CANCELLED)
        if self._agent is not None:
            self._stopped = Stopped(Stop.TIMEOUT, self._agent.state.answer, self._agent.state.spent, reason)
        return AgentError(reason, Stop.TIMEOUT)

    def _result(self, result: AgentResult) -> RunResult:
        """Convert the result of a task.

        Raises:
            AgentError: after all corrections the answer does not fit the schema.
        """
        if result.stop is Stop.SCHEMA:
            raise no_fit(result.words)
        return RunResult(
            result.answer,
            result.stop,
            self.session.meta.tree_usage,
            result.spent.turns,
            self.session.folder,
            result.words,
            self._answers.value_of(result),
        )

    # ---- the parts of an agent

    async def _open(self, stack: AsyncExitStack) -> None:
        context = self._context
        private = context.supervisor.folder
        folder = new_folder(private / self.session.id, stack)
        self._effects.create_notes()
        stack.callback(self._effects.read_notes)
        answers = self._answers = AnswerStore(folder, private, self._spec.schema, pickles=self._depth > 0)
        stack.callback(answers.discard)
        if self._spec.isolated:  # beside the folders of agents, so that no cell can rename it
            place = new_folder(private / f"worktree-{self.session.id}", stack)
            self._spec = replace(self._spec, worktrees=(*self._spec.worktrees, place))
        sandbox = new_sandbox(self._spec, context, self.session, folder)
        if sandbox is not None:
            await stack.enter_async_context(sandbox)
        if self._spec.isolated:
            await self._isolate(stack, sandbox)
        requests = self._requests = CellRequestHandler(
            context,
            self._spec,
            self.session,
            self._slot,
            self._depth,
            self._on_event,
            lambda spec, session, slot: AgentRunner(context, spec, session, slot, self._depth + 1),
            answers,
            self._time.left,
            self._recorded,
            self._effects,
        )
        broker = await stack.enter_async_context(Broker(folder, requests, context.capacity))
        self._calls = stack.enter_context(closing(CallLog(folder / "skill-calls")))
        environment = context.environment | {BROKER: broker.address, CALLS: str(self._calls.path)}
        if self._depth == 0 and context.mcp is not None:
            await stack.enter_async_context(context.mcp.reporting(lambda line: self.session.record(Failed(line))))
        if "ipython" in self._spec.config.tools:
            kernel = new_kernel(
                self._spec, context, self.session, folder, environment=environment, sandbox=sandbox, sink=self._on_event
            )
            self._kernel = await stack.enter_async_context(kernel)
            stack.callback(self._early_start.cancel)
            self._early_start.kernel = self._kernel if context.ahead else None
            requests.kernel = self.user.kernel = self._kernel
        self._tools = new_tools(
            self._spec, context, self.session, folder, stack, environment=environment, sandbox=sandbox,
            sink=self._on_event, kernel=self._kernel, turns=self._turns, answers=answers, recorded=self._recorded,
        )  # fmt: skip
        for problem in context.repository_notes() if self._depth == 0 else ():
            self.session.record(Failed(problem))

    async def _isolate(self, stack: AsyncExitStack, sandbox: Sandbox | None) -> None:
        from rlm.host.isolation import open_worktree

        place, context = self._spec.worktrees[-1], self._context
        self._worktree = stack.enter_context(open_worktree(context.git, place, context.supervisor, sandbox))
        home = files.resolve(self._spec.config.home)
        self._spec = replace(self._spec, cwd=await self._worktree.make(self._spec.cwd, home))
        self._effects.isolate(place, self._spec.cwd)

    def _new_agent(self, state: ConversationState | None = None) -> Agent:
        config = self._spec.config
        return Agent(
            model=self._new_model(config),
            tools=self._tools,
            context=context_for(config, lambda: self.window),
            limits=AgentLimits(self._turns, self._context.limits),
            sink=self._on_event,
            state=state or self.session.start,
            interjections=self.user.interjections,
            check=self._spec.schema.find if self._spec.schema else str,
            asks_at=() if config.no_final_answer else _ASKED_AT if self._depth else _ROOT_ASKED_AT,
            deadline=lambda: self._time.work_until,
        )

    def _new_model(self, config: Config) -> Model:
        context, key = self._context, f"{self.session.tree_id}-{self._spec.number // _SHARING}"
        return context.models.model(
            config,
            self._task,
            self._depth,
            self._on_event,
            stream=context.stream,
            cache_key=key,
            schema=self._spec.schema,
        )

    # ---- events

    def _on_event(self, event: Event) -> None:
        match event:
            case Stopped():
                self._stopped = event
                self._count_calls()
                return
            case ToolReturned(result):
                self._effects.add_call(result)
                self._count_calls()
            case RequestStarted():
                self._early_start.begin()
                if self._context.mcp is not None:
                    self._context.mcp.connect()
            case Delta():
                self._context.warmup.reply_started(self._prefix or "")
            case Replied(reply):
                self._context.warmup.reply_started(self._prefix or "")
                self._early_start.cancel()
                self._context.limits.spend(reply.usage)
        self.session.record(event)

    def _journal_stop(self) -> None:
        """Journal the stop late, before the next task or on closing: sub-agents that still ran have ended by then."""
        if self._stopped is not None:
            self.session.record(self._stopped)
            self._stopped = None

    def _count_calls(self) -> None:
        """Record the calls of skills. It happens after each tool call, so that a killed run has them too."""
        if self._calls is not None and (news := self._calls.take_counts()):
            counts = count_calls(news, self._context.prompt_context.names)
            if counts is not None:
                self.session.record(counts)

    def _inspect_repositories(self) -> None:
        """Inspect the repositories after every process that could change them has ended."""
        if self._depth == 0 and self._context.inspection is not None:
            for problem in self._context.inspection.end(keep=self._spec.config.keep_repositories):
                self.session.record(Failed(problem))
