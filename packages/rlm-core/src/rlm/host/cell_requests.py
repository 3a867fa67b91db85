"""Requests of cells: sub-agents of the same run, model calls, MCP tools, the agent's answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm.broker.limits import Slot
from rlm.broker.payload import ContextPayload
from rlm.broker.protocol import AnswerRequest, CallRequest, LlmRequest, RunRequest, ToolsRequest
from rlm.broker.server import OnProgress
from rlm.core.budget import Budget, Stop
from rlm.core.events import CallKey, ChildEnded, ChildStarted, KeptValue, Queued, Replayed
from rlm.core.ports import Kernel, Sink
from rlm.core.task import RunResult
from rlm.errors import AgentError, RlmError
from rlm.host.answers import AnswerSchema, AnswerStore, hand_over, take_from_cell
from rlm.host.effects import EffectLog
from rlm.host.recorded_results import RecordedResults, keep_value, llm_digest, run_digest
from rlm.host.spec import AgentSpec, RunContext
from rlm.process import files
from rlm.sessions import Session

if TYPE_CHECKING:
    from rlm.host.runner import AgentRunner
    from rlm.mcp import McpClients

NewChild = Callable[[AgentSpec, Session, Slot], "AgentRunner"]


@dataclass(slots=True)
class CellRequestHandler:
    """Handles the requests of one agent's cells. `spec` has the agent's settings, which are the defaults of a child."""

    context: RunContext
    spec: AgentSpec
    session: Session
    slot: Slot
    depth: int
    sink: Sink
    new_child: NewChild
    answers: AnswerStore
    seconds_left: Callable[[], float | None]
    """The seconds left for the agent's task."""
    recorded: RecordedResults
    effects: EffectLog
    kernel: Kernel | None = None
    _newest_model: tuple[AgentSpec | None, str, AgentSpec | None] = (None, "", None)

    async def answer(self, request: AnswerRequest) -> None:
        """Store the answer of the agent itself."""
        await self.answers.store(request)

    def budget(self) -> Budget:
        """Return what is left of the limits, for this agent."""
        return self.context.limits.budget(self.depth, self.seconds_left())

    async def tools(self, request: ToolsRequest) -> tuple[str, Sequence[dict[str, Any]]]:
        """Return the instructions and the tools of an MCP server of this agent.

        Raises:
            RlmError: there is no such server, or it cannot be reached.
        """
        found = await self._mcp_clients(request.server).tools(request.server)
        return found.instructions, found.tools

    async def call(self, request: CallRequest, on_progress: OnProgress) -> dict[str, Any]:
        """Call a tool of an MCP server. The cell counts as working meanwhile, so its clock does not stop.

        Raises:
            RlmError: there is no such server, it cannot be reached, or it answered with an error.
        """
        return await self._mcp_clients(request.server).call(request.server, request.tool, request.values(), on_progress)

    def _mcp_clients(self, server: str) -> McpClients:
        names = self.spec.config.mcp.names
        if self.context.mcp is None or server not in names:
            there = f"there are {', '.join(names)}" if names else "it has none"
            raise AgentError(f"this agent has no MCP server {server[:80]!r}; {there}")
        return self.context.mcp

    async def llm(self, request: LlmRequest) -> str:
        """Ask a model for a cell. The call is no agent, and takes no slot.

        Raises:
            AgentError: there is no answer.
        """
        from rlm.host.model_call import call_model, recorded_answer

        parent, model, spec = self._newest_model  # cached: a cell may make thousands of calls
        if spec is None or parent is not self.spec or model != request.model:  # an empty one means that of sub-agents
            spec = self._child_spec(RunRequest("", "", {"model": request.model} if request.model else {}))
            self._newest_model = self.spec, request.model, spec
        key = self.recorded.next_key(llm_digest(request))
        with self.kernel.waiting() if self.kernel else nullcontext():
            recorded = await recorded_answer(request, self.recorded.replies(key))
            if recorded is not None:
                self.recorded.record(Replayed(key))
                return recorded
            return await call_model(self.context, spec, self.depth, request, self.sink, key=key)

    async def run(self, request: RunRequest) -> RunResult:
        """Run a child for a cell. The request is not trusted, so everything is checked.

        Raises:
            AgentError: it failed, or is refused.
        """
        spec = self._child_spec(request)
        key = self.recorded.next_key(run_digest(request))
        async with AsyncExitStack() as stack:
            if self.kernel is not None:
                stack.enter_context(self.kernel.waiting())  # the clock of the cell also stops in the queue
            context = self._payload(request)
            if context is not None:
                stack.callback(files.remove, context.path)  # the child's kernel has read it by then
            if (recorded := await self.recorded.result(key, self._folder)) is not None:
                return hand_over(recorded, self._folder)
            number = self.context.limits.admit(self.depth + 1)  # an invalid request does not count as an agent
            spec = replace(spec, number=number, context=context, attempts=self.recorded.attempts(key))
            asked = time.monotonic()
            # a child in the queue has no session yet, so its parent records the wait
            slot = await stack.enter_async_context(self.slot.child(lambda queued: self.sink(Queued(queued))))
            result = await self._run_child(spec, slot, key, round(time.monotonic() - asked, 3))
            return hand_over(result, self._folder)

    async def _run_child(self, spec: AgentSpec, slot: Slot, key: CallKey, queued: float) -> RunResult:
        session = self.session.child(spec.task, model=spec.config.model, cwd=spec.cwd)
        self.sink(ChildStarted(session.folder.name, spec.task, queued, key))
        child = self.new_child(spec, session, slot)
        error, value = "", KeptValue()
        try:
            async with child:
                result = await child.ask(spec.task)
                value = await asyncio.to_thread(keep_value, result, session.folder, self.recorded.sandbox)
                return result
        except RlmError as raised:
            error = str(raised)
            raise
        finally:
            meta, effects = session.meta, child.effects
            stop = Stop(meta.stop_reason or Stop.ERROR)
            self.effects.add_child(effects, spec.cwd)
            self.sink(ChildEnded(session.folder.name, stop, meta.turns, meta.tree_usage, error, value, effects))

    @property
    def _folder(self) -> Path:
        """The folder in which the agent's cells read and write."""
        return self.context.supervisor.folder / self.session.id

    def _child_spec(self, request: RunRequest) -> AgentSpec:
        """Return the child's spec: the settings of the parent, changed by the request.

        Raises:
            ConfigError: an argument is not allowed.
        """
        options = dict(request.options)
        cwd = options.pop("cwd", "") if self.context.policy else ""
        if (model := self.spec.config.subagent_model) is not None:
            options.setdefault("model", model)
        spec = self.spec.for_child(request.task, options)
        if request.schema:
            spec = replace(spec, schema=AnswerSchema.from_text(request.schema))
        if spec.config.model != self.spec.config.model and spec.config.recording:
            raise AgentError("no cell may choose a recording: the host would read it")
        turns = min(spec.config.max_turns, self.spec.config.max_turns)
        # in a sandbox the host must not check `cwd`: it would follow a cell's links, and errors would reveal files
        return replace(spec, config=replace(spec.config, max_turns=turns), cwd=spec.cwd / cwd)

    def _payload(self, request: RunRequest) -> ContextPayload | None:
        """Return the context that a cell hands on. It must be a plain file in this agent's own runtime folder."""
        if request.context is None:
            return None
        from rlm.process.shared_objects import PRELOADED

        path = take_from_cell(self._folder, request.context.name, self.context.supervisor.folder, "context", keep=True)
        modules = tuple(name for name in request.context.modules.split(",") if name in PRELOADED)
        return ContextPayload(path, request.context.about, request.context.kind, modules=modules)
