"""The first messages of an agent, before its first task."""

from __future__ import annotations

import json
import sys

from rlm.core.messages import Kind, System, User
from rlm.core.ports import Sink
from rlm.core.prompt import Facts, schema_prompt, shared_prompt, system_prompt
from rlm.core.toolbox import Toolbox
from rlm.host.recorded_results import RecordedResults
from rlm.host.spec import AgentSpec, RunContext
from rlm.kernel import JupyterKernel
from rlm.process.interpreter import project_python
from rlm.sessions import Session
from rlm.sessions.earlier_calls import EarlierCalls


async def first_messages(
    spec: AgentSpec,
    context: RunContext,
    session: Session,
    depth: int,
    *,
    tools: Toolbox,
    kernel: JupyterKernel | None,
    recorded: RecordedResults,
    sink: Sink,
) -> tuple[list[System | User], str]:
    """Return the messages before the first task: the system prompt, or for a resumed agent notes about its kernel.

    Also return the prefix of its requests that other agents of the run may share, see `CacheWarmup`; it may be empty.
    """
    if session.start.history.entries:
        return await _resumed(spec, context, session, kernel, recorded, sink), ""
    if spec.attempts:
        recorded.match(spec.attempts, EarlierCalls.from_the_start)
    text = shared = spec.system_prompt or ""
    if spec.system_prompt is None:
        facts = _facts(spec, context, depth)
        text, shared = system_prompt(facts), shared_prompt(facts)
    elif spec.schema is not None:
        text = f"{text}\n\n{schema_prompt(spec.schema.text)}"
    return [System(text)], f"{spec.config.model}\n{json.dumps(tools.schemas)}\n{shared}"


async def _resumed(  # noqa: PLR0917 - the parts of one agent
    spec: AgentSpec,
    context: RunContext,
    session: Session,
    kernel: JupyterKernel | None,
    recorded: RecordedResults,
    sink: Sink,
) -> list[System | User]:
    """Return notes on the kernel and on changes. Its recorded cells may run again meanwhile."""
    from rlm.host.resumed_kernel import resume_notes

    rerun = spec.earlier is not None and spec.earlier.rerun
    recorded.match([session.agent_path], EarlierCalls.as_made if rerun else EarlierCalls.left_open)
    notes = await resume_notes(spec, session, kernel, sink, recorded.note)
    recorded.match([session.agent_path], EarlierCalls.left_open)  # the calls of those cells are now recorded
    servers = _mcp_prompt(spec, context)
    if not any(servers in str(message.wire()["content"]) for message in session.start.history.messages):
        notes.append(User(servers, Kind.NOTE))  # the recorded conversation does not name these servers
    if spec.schema is not None:
        notes.append(User(schema_prompt(spec.schema.text), Kind.NOTE))
    return notes


def _facts(spec: AgentSpec, context: RunContext, depth: int) -> Facts:
    """Return the facts for the system prompt: where and how the agent works."""
    config, payload = spec.config, spec.context
    policy = context.policy
    cwd = policy.cwd if policy else spec.cwd  # the host must not read what a cell in a sandbox may have created
    return Facts(
        cwd=str(spec.cwd),
        tools=config.tools,
        recursion=context.limits.can_recurse(depth),
        context=payload.about if payload else "",
        version=f"{sys.version_info.major}.{sys.version_info.minor}",
        python=project_python(cwd, context.environment),
        sandbox=policy is not None and bool(config.tools),
        network=config.sandbox_net,
        isolated=spec.isolated,
        git=policy.git.note if policy and config.tools else "",
        skills=context.prompt_context.skills_text(cwd, config.tools),
        mcp=_mcp_prompt(spec, context),
        project=context.prompt_context.project_text(cwd) if config.tools else "",
        append=context.appends.text(config, depth, leaf=not context.limits.can_recurse(depth)),
        schema=spec.schema.text if spec.schema else "",
    )


def _mcp_prompt(spec: AgentSpec, context: RunContext) -> str:
    """Describe the agent's MCP servers; empty if it has none, or no kernel to call them from."""
    if context.mcp is None or "ipython" not in spec.config.tools:
        return ""
    return context.mcp.names.only(spec.config.mcp.names).prompt
