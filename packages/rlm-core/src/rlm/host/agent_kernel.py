"""Where an agent's cells run: its runtime folder, its sandbox, its kernel."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from rlm.core.ports import Sink
from rlm.errors import AgentError
from rlm.host.spec import AgentSpec, RunContext
from rlm.kernel import JupyterKernel, KernelSpec
from rlm.process import files
from rlm.sandbox import Sandbox
from rlm.sessions import Session

_CONTEXT = "context"
"""Its name in the runtime folder, in a sandbox."""


def new_folder(folder: Path, stack: AsyncExitStack) -> Path:
    """Make it; it is gone when the stack closes.

    Raises:
        AgentError: it cannot be made.
    """
    try:
        files.make_folder(folder)
    except OSError as error:
        raise AgentError(f"The runtime folder {folder} cannot be made: {error.strerror}.") from None
    stack.callback(files.remove_tree, folder)
    return folder


def new_sandbox(spec: AgentSpec, context: RunContext, session: Session, folder: Path) -> Sandbox | None:
    """In it the agent may read its own session, which results speak of, and its context, wherever they are.

    It may write to its worktree, and to those of the agents above it, in one of which it may have been started.
    """
    if context.policy is None:
        return None
    within = {_CONTEXT: spec.context.path} if spec.context else {}
    return Sandbox(context.policy, folder, [session.folder], within, spec.worktrees)


def new_kernel(
    spec: AgentSpec,
    context: RunContext,
    session: Session,
    folder: Path,
    *,
    environment: Mapping[str, str],
    sandbox: Sandbox | None,
    sink: Sink,
) -> JupyterKernel:
    payload = spec.context
    wanted = KernelSpec(
        cwd=spec.cwd,
        env=environment,
        run_dir=folder,
        outputs=session.outputs,
        max_output=spec.config.max_output,
        context=(payload.kind, folder / _CONTEXT if sandbox else payload.path) if payload else None,
        modules=payload.modules if payload else (),
        sandbox_handle=sandbox.handle if sandbox else None,
        quota=context.quota,
        servers=context.mcp.names.only(spec.config.mcp.names).variables if context.mcp else (),
    )
    return JupyterKernel(wanted, sink, context.kernels)
