"""One agent at work, and the children that its cells ask for."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from rlm.broker.capacity import HostCapacity
from rlm.broker.limits import AgentLimits, Slot, TreeLimits
from rlm.broker.payload import ContextPayload
from rlm.broker.protocol import SpawnRequest
from rlm.broker.server import Broker
from rlm.config.environment import BROKER
from rlm.config.settings import Config, override, read_folder, read_seconds
from rlm.core.agent import Agent
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import Both, Compact, LastTurns
from rlm.core.events import ChildEnded, ChildStarted, Event, Failed, Replied, RequestStarted, Stopped, ToolReturned
from rlm.core.messages import Kind, System, User
from rlm.core.ports import Context
from rlm.core.prompt import Facts, system_prompt
from rlm.core.result import RunResult
from rlm.core.toolbox import Toolbox
from rlm.errors import AgentError, RlmError
from rlm.host.checkpoint import VARIABLES, refusal, restore
from rlm.host.factories import REPLAY, ModelFactory, ToolEnvironment, open_tools
from rlm.host.rerun import rerun, rerun_note
from rlm.kernel import JupyterKernel, KernelServer, KernelSpec
from rlm.process import files
from rlm.process.interpreter import project_python
from rlm.sandbox import Inspection, Sandbox, SandboxPolicy
from rlm.sessions import Session
from rlm.sessions.journal import read
from rlm.sessions.records import Record
from rlm.sessions.resume import cells, kernel_note, names_gone
from rlm.skills import CALLS, CallLog, PromptContext, called
from rlm.text.bounded import Quota

_CONTEXT = "context"
"""Its name in the runtime folder, in a sandbox."""


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """The session to go on with, or with `fork` a copy of it."""

    folder: Path
    fork: bool = False
    rerun: bool = False
    """Run its cells again first, so that its variables are there."""
    trust: bool = False
    """Whoever made it, the user takes it over."""
    notes: tuple[str, ...] = ()
    """What the user should know of how this run differs."""
    moved_from: str = ""
    """Where it worked, if not where this run does."""


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What one agent shall do, and how."""

    task: str
    config: Config
    cwd: Path
    context: ContextPayload | None = None
    system_prompt: str | None = None
    timeout: float | None = None
    earlier: ResumeOptions | None = None

    def but(self, task: str, options: Mapping[str, str]) -> AgentSpec:
        """A new `task`, as this one but for the arguments of a call of `rlm.run`.

        Raises:
            ConfigError: an argument is not allowed.
        """
        rest = dict(options)
        # links are followed once: who starts something in it refuses those that have come since
        cwd = files.resolve(read_folder("cwd", str(self.cwd / rest.pop("cwd")))) if "cwd" in rest else self.cwd
        timeout = read_seconds("timeout", rest.pop("timeout")) if "timeout" in rest else None
        prompt = rest.pop("system_prompt", self.system_prompt)
        return AgentSpec(task, override(self.config, rest), cwd, system_prompt=prompt, timeout=timeout)


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all agents of one run share."""

    ledger: TreeLimits
    calls: HostCapacity
    models: ModelFactory
    zygote: KernelServer
    folder: Path
    environment: dict[str, str]
    briefing: PromptContext
    shell: Path
    """For commands. Found before any cell has run."""
    quota: Quota
    """What the outputs of all agents may take on disk."""
    walls: SandboxPolicy | None = None
    """Of the sandbox, if there is one."""
    inspection: Inspection | None = None
    """Of the repositories that its cells may change."""


class AgentRunner:
    """One agent at work: its session, its seat, its kernel, and the children that its cells ask for."""

    def __init__(
        self, shared: RunContext, order: AgentSpec, session: Session, seat: Slot | None = None, depth: int = 0
    ) -> None:
        self._shared = shared
        self._order = order
        self._session = session
        self._seat = seat or shared.ledger.seat()
        self._depth = depth
        self._kernel: JupyterKernel | None = None
        self._calls: CallLog | None = None
        self._stopped: Stopped | None = None

    async def run(self) -> RunResult:
        """Work until the agent stops, then leave nothing behind.

        Raises:
            RlmError: what the agent could not survive.
        """
        order = self._order
        async with AsyncExitStack() as stack:
            stack.enter_context(self._session)
            stack.callback(self._tell_the_end)
            stack.callback(self._inspect_repositories)
            await stack.enter_async_context(self._seat)
            agent = await self._open(stack)
            if self._depth == 0:
                self._tell_of_repositories()
            limit = asyncio.timeout(order.timeout)
            try:
                async with limit:
                    result = await agent.run(*await self._opening(), User(order.task))
            except TimeoutError:
                if not limit.expired():
                    raise  # somebody else's
                raise AgentError(f"timed out after {order.timeout:g} s", Stop.CANCELLED) from None
        return RunResult(
            result.answer,
            result.stop,
            self._session.meta.tree_usage,
            result.spent.turns,
            self._session.folder,
            result.words,
        )

    async def _open(self, stack: AsyncExitStack) -> Agent:
        """Open what the agent works with."""
        config = self._order.config
        folder = self._shared.folder / self._session.id
        try:
            files.make_folder(folder)
        except OSError as error:
            raise AgentError(f"The runtime folder {folder} cannot be made: {error.strerror}.") from None
        stack.callback(files.remove_tree, folder)
        broker = await stack.enter_async_context(Broker(folder, self.spawn, self._shared.calls))
        self._calls = stack.enter_context(closing(CallLog(folder / "skill-calls")))
        environment = self._shared.environment | {BROKER: broker.address, CALLS: str(self._calls.path)}
        box = await stack.enter_async_context(self._new_box(self._shared.walls, folder)) if self._shared.walls else None
        if "ipython" in config.tools:
            self._kernel = await stack.enter_async_context(self._new_kernel(folder, environment, box))
        boxed = box.command if box else None
        outputs, shell, quota = self._session.outputs, self._shared.shell, self._shared.quota
        last, kernel = self._session.start.history.turns + config.max_turns, self._kernel
        place = ToolEnvironment(
            self._order.cwd, environment, folder, outputs, kernel, self._hear, shell, last, boxed, quota
        )
        return Agent(
            model=self._shared.models.model(config, self._order.task, self._depth, self._hear),
            tools=Toolbox(open_tools(config, place, stack.enter_context(ExitStack()))),
            context=_context(config),
            limits=AgentLimits(TurnLimit(self._session.start.spent.turns + config.max_turns), self._shared.ledger),
            sink=self._hear,
            state=self._session.start,
        )

    def _new_box(self, walls: SandboxPolicy, folder: Path) -> Sandbox:
        """In it this agent may read its own session, which results speak of, and its context, wherever they are."""
        parcel = self._order.context
        return Sandbox(walls, folder, [self._session.folder], {_CONTEXT: parcel.path} if parcel else {})

    def _new_kernel(self, folder: Path, environment: dict[str, str], box: Sandbox | None) -> JupyterKernel:
        parcel = self._order.context
        spec = KernelSpec(
            cwd=self._order.cwd,
            env=environment,
            run_dir=folder,
            outputs=self._session.outputs,
            max_output=self._order.config.max_output,
            context=(parcel.kind, folder / _CONTEXT if box else parcel.path) if parcel else None,
            door=box.door if box else None,
            quota=self._shared.quota,
        )
        return JupyterKernel(spec, self._hear, self._shared.zygote)

    async def _opening(self) -> list[System | User]:
        """What comes before the task: the system prompt, or when resumed what has become of the kernel."""
        if not self._session.start.history.entries:
            return [System(self._prompt())]
        moved = self._order.earlier.moved_from if self._order.earlier else ""
        notes = [f"The working directory is {self._order.cwd} now; it was {moved}."] if moved else []
        if self._kernel is not None:
            notes.append(await self._kernel_note(self._kernel, read(self._session.folder).records))
        return [User(" ".join(notes), Kind.NOTE)] if notes else []

    async def _kernel_note(self, kernel: JupyterKernel, records: Sequence[Record]) -> str:
        """What has become of the kernel and of its variables; as far as they can be, they are brought back."""
        if self._order.earlier is not None and self._order.earlier.rerun:
            return rerun_note(await rerun(kernel, cells(records), self._order.config.exec_timeout, self._hear))
        saved = self._session.folder / VARIABLES
        if self._may_load(saved, records):
            return f"This session was resumed in a fresh kernel. {await restore(kernel, saved)}"
        return kernel_note(names_gone(records))

    def _may_load(self, saved: Path, records: Sequence[Record]) -> bool:
        """Whether saved variables are loaded; if not, the user is told why."""
        if not os.path.lexists(saved):
            return False
        trusted = self._order.earlier is not None and self._order.earlier.trust
        why = refusal(saved, records, self._order.config.sandbox, trusted=trusted)
        if why:
            self._hear(Failed(f"The variables of this session are not restored: {why}."))
        return not why

    def _prompt(self) -> str:
        text = self._order.system_prompt
        return text if text is not None else system_prompt(self._facts())

    def _facts(self) -> Facts:
        config, parcel, walls = self._order.config, self._order.context, self._shared.walls
        place = walls.cwd if walls else self._order.cwd  # what a cell in a sandbox may have made is not for us to read
        return Facts(
            cwd=str(self._order.cwd),
            tools=config.tools,
            recursion=self._shared.ledger.can_recurse(self._depth),
            context=parcel.about if parcel else "",
            version=f"{sys.version_info.major}.{sys.version_info.minor}",
            python=project_python(place, self._shared.environment),
            sandbox=walls is not None and bool(config.tools),
            network=config.sandbox_net,
            git=walls.git.note if walls and config.tools else "",
            skills=self._shared.briefing.skills_text(place, config.tools),
            project=self._shared.briefing.project_text(place) if config.tools else "",
            append=config.append_to_system_prompt or "",
        )

    def _hear(self, event: Event) -> None:
        if isinstance(event, Replied):
            self._shared.ledger.spend(event.reply.usage)
        if isinstance(event, RequestStarted) and self._kernel is not None and self._depth == 0:
            self._kernel.start()  # it is up when the first reply comes; a child may never need one
        if isinstance(event, (ToolReturned, Stopped)):
            self._count_calls()
        if isinstance(event, Stopped):
            self._stopped = event
        else:
            self._session(event)

    def _tell_the_end(self) -> None:
        """Last, when all is closed: children that were left running have ended by then, and have said so."""
        if self._stopped is not None:
            self._session(self._stopped)

    def _tell_of_repositories(self) -> None:
        """What git cannot do here, and what an earlier run has left."""
        note = (self._shared.walls.git.note,) if self._shared.walls else ()
        left = self._shared.inspection.left if self._shared.inspection else ()
        for told in filter(None, (*note, *left)):
            self._session(Failed(told))

    def _inspect_repositories(self) -> None:
        """When all that could change them has ended."""
        if self._depth == 0 and self._shared.inspection is not None:
            for told in self._shared.inspection.end(keep=self._order.config.keep_repositories):
                self._session(Failed(told))

    def _count_calls(self) -> None:
        """Of skills. After each call of a tool, so that a run that is killed has them too."""
        if self._calls is not None and (news := self._calls.news()):
            counts = called(news, self._shared.briefing.names)
            if counts is not None:
                self._session(counts)

    # ---- children

    async def spawn(self, request: SpawnRequest) -> RunResult:
        """Run a child for a cell that asks. Nothing of what a cell says is trusted.

        Raises:
            AgentError: it failed, or is refused.
        """
        order = self._order_of(request)
        self._shared.ledger.admit(self._depth + 1)  # what is no request has cost the tree no agent
        order = replace(order, context=self._parcel(request))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._seat.waiting())
            if self._kernel is not None:
                stack.enter_context(self._kernel.waiting())
            if order.context is not None:
                stack.callback(files.remove, order.context.path)  # its kernel has had it by then
            seat = self._shared.ledger.seat()
            await stack.enter_async_context(seat)  # sits before its folder is made: those who queue cost nothing
            return await self._run_child(order, seat)

    async def _run_child(self, order: AgentSpec, seat: Slot) -> RunResult:
        session = self._session.child(order.task, model=order.config.model, cwd=order.cwd)
        self._hear(ChildStarted(session.folder.name, order.task))
        error = ""
        try:
            return await AgentRunner(self._shared, order, session, seat, self._depth + 1).run()
        except RlmError as raised:
            error = str(raised)
            raise
        finally:
            meta = session.meta
            stop = Stop(meta.stop_reason or Stop.ERROR)
            self._hear(ChildEnded(session.folder.name, stop, meta.turns, meta.tree_usage, error))

    def _order_of(self, request: SpawnRequest) -> AgentSpec:
        """The parent's settings where the request does not say otherwise.

        Raises:
            ConfigError: an argument is not allowed.
        """
        options = dict(request.options)
        cwd = options.pop("cwd", "") if self._shared.walls else ""
        order = self._order.but(request.task, options)
        if order.config.model != self._order.config.model and order.config.model.startswith(REPLAY):
            raise AgentError("no cell may choose a recording: the host would read it")
        turns = min(order.config.max_turns, self._order.config.max_turns)
        # in a sandbox the host does not look: it would follow a cell's links, and tell what is there
        return replace(order, config=replace(order.config, max_turns=turns), cwd=order.cwd / cwd)

    def _parcel(self, request: SpawnRequest) -> ContextPayload | None:
        """Only a plain file in this agent's own runtime folder may be handed on."""
        if not request.context:
            return None
        offered = self._shared.folder / self._session.id / Path(request.context).name
        path = self._shared.folder / f"context-{token_hex(8)}"
        try:
            offered.rename(path)  # by path: in our private folder
            os.close(files.open_file(path))  # from here on, no cell can put something else in its place
        except OSError:
            raise AgentError("the context is not a file in this agent's runtime folder") from None
        return ContextPayload(path, request.about, "file" if request.kind == "file" else "pickle")


def _context(config: Config) -> Context:
    compact = Compact(config.summarize_at_tokens)
    if config.max_turns_in_context == -1:
        return compact
    return Both(LastTurns(config.max_turns_in_context), compact)
