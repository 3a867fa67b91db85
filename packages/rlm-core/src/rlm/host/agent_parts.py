"""The runtime folder, the sandbox, the kernel and the tools of one agent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rlm.config.credentials import redactor_of
from rlm.core.budget import TurnLimit
from rlm.core.ports import Kernel, Sink
from rlm.core.toolbox import Toolbox
from rlm.errors import AgentError
from rlm.host.agent_tool import CONFIRMED, AgentTool
from rlm.host.answers import AnswerStore
from rlm.host.checkpoint import VARIABLES, Checkpoints
from rlm.host.recorded_results import RecordedResults
from rlm.host.spec import AgentSpec, RunContext
from rlm.kernel import JupyterKernel, KernelSpec
from rlm.process import files
from rlm.process.supervisor import ProcessGroups
from rlm.sessions import Session
from rlm.tools.bash import Bash
from rlm.tools.edit import Edit
from rlm.tools.ipython import IPython
from rlm.tools.summarize import Summarize

if TYPE_CHECKING:
    from rlm.sandbox import Sandbox

_CONTEXT = "context"
"""The name of the context file in the runtime folder, in a sandbox."""
_SLOW = 1.0  # seconds without a reply, after which a sub-agent's kernel is started


def new_folder(folder: Path, stack: AsyncExitStack) -> Path:
    """Create a folder that is removed when the stack closes.

    Raises:
        AgentError: it cannot be created.
    """
    try:
        files.make_folder(folder)
    except OSError as error:
        raise AgentError(f"The runtime folder {folder} cannot be created: {error.strerror}.") from None
    stack.callback(files.remove_tree, folder)
    return folder


def new_sandbox(spec: AgentSpec, context: RunContext, session: Session, folder: Path) -> Sandbox | None:
    """Return the agent's sandbox, if the run has a policy.

    The agent may read its own session, to which results refer, and its context, wherever they are. It may write to its
    own worktree and to the worktrees of the agents above it, since it may have been started in one of them.
    """
    if context.policy is None:
        return None
    from rlm.sandbox import Sandbox

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
    """Return the agent's kernel, to be entered. Its process starts with the first cell, or with `start`."""
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


def new_tools(
    spec: AgentSpec,
    context: RunContext,
    session: Session,
    folder: Path,
    stack: AsyncExitStack,
    *,
    environment: Mapping[str, str],
    sandbox: Sandbox | None,
    sink: Sink,
    kernel: Kernel | None,
    turns: TurnLimit,
    answers: AnswerStore,
    recorded: RecordedResults,
) -> Toolbox:
    """Return the tools that are on, in the order of the setting; `stack` closes them."""
    config, redactor = spec.config, redactor_of(spec.config)
    sandboxed = sandbox.command if sandbox else None
    tools = []
    for name in config.tools:
        approve = context.approve if name in CONFIRMED else None
        new_tool = partial(AgentTool, turns=turns, redactor=redactor if redactor.longest else None, approve=approve)
        match name:
            case "ipython":
                assert kernel is not None, "the kernel is opened before the tools"
                draft, saved = folder / VARIABLES, session.folder / VARIABLES
                checkpoints = Checkpoints(kernel, draft, saved, sink, config.sandbox) if config.checkpoint else None
                most = config.max_turns_in_context
                ipython = IPython(kernel, config.exec_timeout, max_turns_in_context=most, images=config.images)
                tools.append(new_tool(ipython, checkpoints=checkpoints, answers=answers, recorded=recorded))
            case "bash":
                bash = Bash(
                    spec.cwd, environment, session.outputs, config.exec_timeout, config.max_output, sink, sandboxed,
                    groups=ProcessGroups(context.supervisor), shell=context.shell, quota=context.quota,
                )  # fmt: skip
                tools.append(new_tool(stack.enter_context(closing(bash)), recorded=recorded))
            case "summarize":
                tools.append(new_tool(Summarize(kernel)))
            case "edit":
                tools.append(new_tool(Edit(spec.cwd, sandboxed)))
    return Toolbox(tools)


class EarlyStart:
    """Starts a kernel while the model works on a reply, so that the kernel is ready when the reply comes.

    A sub-agent may never need one, so its kernel is started early only if the reply takes more than `_SLOW` seconds.
    """

    def __init__(self, depth: int) -> None:
        self.kernel: JupyterKernel | None = None
        """None: the agent has no kernel, or it starts when the first cell needs it."""
        self._waits = depth > 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """A request is sent."""
        self.cancel()
        if self.kernel is None:
            return
        if self._waits:
            self._timer = asyncio.get_running_loop().call_later(_SLOW, self.kernel.start)
        else:
            self.kernel.start()

    def cancel(self) -> None:
        """The reply has come, or the kernel is no longer needed."""
        if self._timer is not None:
            self._timer.cancel()
