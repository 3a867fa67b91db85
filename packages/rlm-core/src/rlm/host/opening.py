"""The first messages of an agent, before its first task."""

from __future__ import annotations

import json

from rlm.core.messages import Kind, System, User
from rlm.core.ports import Sink
from rlm.core.prompt import schema_prompt, shared_prompt, system_prompt
from rlm.core.toolbox import Toolbox
from rlm.host.facts import facts_of, mcp_prompt
from rlm.host.replay import Replays
from rlm.host.spec import AgentSpec, RunContext
from rlm.kernel import JupyterKernel
from rlm.sessions import Session
from rlm.sessions.earlier_calls import EarlierCalls


class AgentOpening:
    """The first messages of one agent, at `depth`."""

    def __init__(self, spec: AgentSpec, context: RunContext, session: Session, replays: Replays, depth: int) -> None:
        self.beginning = ""
        """The beginning of its requests that other agents of the run may share; see `CacheWarmup`."""
        self._spec = spec
        self._context = context
        self._session = session
        self._replays = replays
        self._depth = depth

    async def messages(self, tools: Toolbox, kernel: JupyterKernel | None, sink: Sink) -> list[System | User]:
        """Return the system prompt, or for a resumed agent notes about its kernel."""
        if self._session.start.history.entries:
            return await self._resumed(kernel, sink)
        if self._spec.attempts:
            self._replays.begin(self._spec.attempts, EarlierCalls.from_the_start)
        text, shared = self._prompts()
        self.beginning = f"{self._spec.config.model}\n{json.dumps(tools.schemas())}\n{shared}"
        return [System(text)]

    async def _resumed(self, kernel: JupyterKernel | None, sink: Sink) -> list[System | User]:
        from rlm.host.resumed_kernel import resume_notes

        spec = self._spec
        replay = spec.earlier is not None and spec.earlier.rerun
        itself = [self._session.agent_path]
        self._replays.begin(itself, EarlierCalls.as_made if replay else EarlierCalls.left_open)
        notes = await resume_notes(spec, self._session, kernel, sink, self._replays.note)
        self._replays.begin(itself, EarlierCalls.left_open)  # the calls of those cells are now recorded
        schema = [User(schema_prompt(spec.schema.text), Kind.NOTE)] if spec.schema else []
        return [*notes, *self._new_servers(), *schema]

    def _prompts(self) -> tuple[str, str]:
        """Return the system prompt, and the part of it that other agents share."""
        own, schema = self._spec.system_prompt, self._spec.schema
        if own is not None:
            return own if schema is None else f"{own}\n\n{schema_prompt(schema.text)}", own
        facts = facts_of(self._spec, self._context, self._depth)
        return system_prompt(facts), shared_prompt(facts)

    def _new_servers(self) -> list[User]:
        """Return a note of MCP servers that the recorded conversation does not name."""
        text = mcp_prompt(self._spec, self._context)
        known = any(text in str(message.wire()["content"]) for message in self._session.start.history.messages)
        return [] if known else [User(text, Kind.NOTE)]
