"""Facts for the system prompt of an agent: where and how it works."""

from __future__ import annotations

import sys

from rlm.core.prompt import Facts
from rlm.host.spec import AgentSpec, RunContext
from rlm.process.interpreter import project_python


def facts_of(spec: AgentSpec, context: RunContext, depth: int) -> Facts:
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
        mcp=mcp_prompt(spec, context),
        project=context.prompt_context.project_text(cwd) if config.tools else "",
        append=context.appends.text(config, depth, leaf=not context.limits.can_recurse(depth)),
        schema=spec.schema.text if spec.schema else "",
    )


def mcp_prompt(spec: AgentSpec, context: RunContext) -> str:
    """Return the text about the agent's MCP servers; empty if it has none, or no kernel to call them from."""
    if context.mcp is None or "ipython" not in spec.config.tools:
        return ""
    return context.mcp.names.only(spec.config.mcp.names).prompt
