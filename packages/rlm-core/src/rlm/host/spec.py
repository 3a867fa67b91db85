"""What an agent shall do and how, and what all agents of one run share. Values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlm.broker.limits import TreeLimits
from rlm.broker.payload import ContextPayload, from_file
from rlm.broker.server import HostCapacity
from rlm.config.mcp_servers import McpConfigError, McpServers
from rlm.config.settings import Config
from rlm.config.sources import override, read_folder
from rlm.errors import ConfigError
from rlm.host.answers import AnswerSchema
from rlm.host.cache_warmup import CacheWarmup
from rlm.host.factories import ModelFactory
from rlm.kernel import KernelServer
from rlm.process import files
from rlm.process.supervisor import Supervisor
from rlm.sandbox import Inspection, SandboxPolicy
from rlm.skills import PromptContext
from rlm.text.bounded import Quota
from rlm.tools.decorators import Approve

if TYPE_CHECKING:
    from rlm.mcp import McpClients

_ISOLATION = "worktree"
"""The one way in which a sub-agent can be isolated."""


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """The session to continue, or with `fork` a copy of it."""

    folder: Path
    fork: bool = False
    rerun: bool = False
    """Run its cells again first, so that its variables exist."""
    rerun_agents: bool = False
    """Give no call of a sub-agent or a model its recorded result."""
    doubt: str = ""
    """Why it is not known to be the user's own, who takes it over all the same; empty if it is."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """Its settings, as texts by name."""
    notes: tuple[str, ...] = ()
    """What the user should know of how this run differs."""
    moved_from: str = ""
    """Where it worked, if not where this run does."""


@dataclass(frozen=True, slots=True)
class PromptAppends:
    """What is added to the system prompts of sub-agents in place of what is added to the root's. None: the same.

    A leaf is one that can have no sub-agents; None: as `subagent`.
    """

    subagent: str | None = None
    leaf: str | None = None

    def text(self, config: Config, depth: int, *, leaf: bool) -> str:
        """Of an agent with these settings."""
        own = config.append_to_system_prompt
        if depth == 0:
            return own or ""
        chain = (self.leaf, self.subagent, own) if leaf else (self.subagent, own)
        return next((text for text in chain if text is not None), "")


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """The first task of an agent, and how it works."""

    task: str
    config: Config
    cwd: Path
    context: ContextPayload | None = None
    system_prompt: str | None = None
    earlier: ResumeOptions | None = None
    number: int = 0
    """How many agents the run had before it."""
    schema: AnswerSchema | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of kernels and commands, of all agents of the run."""
    attempts: tuple[str, ...] = ()
    """Agents (paths in the tree) that have begun the same task in earlier runs, and did not finish it."""
    appends: PromptAppends = field(default_factory=PromptAppends)
    isolated: bool = False
    """It works in a git worktree of its own, in place of `cwd`."""
    worktrees: tuple[Path, ...] = ()
    """The folders of its worktree and of those that agents above it work in."""

    def but(self, task: str, options: Mapping[str, str]) -> AgentSpec:
        """A new `task`, as this one but for the arguments of a call of `rlm.run`.

        Raises:
            ConfigError: an argument is not allowed.
        """
        rest = dict(options)
        # links are followed once: who starts something in it refuses those that have come since
        cwd = files.resolve(read_folder("cwd", str(self.cwd / rest.pop("cwd")))) if "cwd" in rest else self.cwd
        prompt = rest.pop("system_prompt", self.system_prompt)
        servers = _chosen(self.config.mcp, rest.pop("mcp", None))  # none that the parent has not
        isolated = _is_isolated(rest.pop("isolation", ""))
        config = override(replace(self.config, timeout=None, mcp=servers), rest)
        return AgentSpec(task, config, cwd, system_prompt=prompt, isolated=isolated, worktrees=self.worktrees)


def _is_isolated(isolation: str) -> bool:
    if isolation not in ("", _ISOLATION):
        raise ConfigError(f"isolation={isolation!r} is not allowed: it takes {_ISOLATION!r}.")
    return isolation != ""


def _chosen(servers: McpServers, names: str | None) -> McpServers:
    if names is None:
        return servers
    try:
        return servers.only([name.strip() for name in names.split(",") if name.strip()])
    except McpConfigError as error:
        raise ConfigError(f"mcp={names!r} is not allowed: it takes {error}.") from None


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all agents of one run share."""

    limits: TreeLimits
    capacity: HostCapacity
    models: ModelFactory
    kernels: KernelServer
    supervisor: Supervisor
    """Its folder is private, for sockets and what goes to kernels."""
    environment: dict[str, str]
    """Of kernels and commands."""
    prompt_context: PromptContext
    shell: Path
    """For commands. Found before any cell has run."""
    git: Path | None
    """As the shell."""
    quota: Quota
    """What the outputs of all agents may take on disk."""
    warmup: CacheWarmup
    appends: PromptAppends = field(default_factory=PromptAppends)
    stream: bool = False
    """Somebody watches the model's text."""
    ahead: bool = True
    """The root's kernel is started while its first request is under way."""
    approve: Approve | None = None
    """Asks the user before each cell, command and edit."""
    policy: SandboxPolicy | None = None
    """Of the sandbox, if there is one."""
    inspection: Inspection | None = None
    """Of the repositories that its cells may change."""
    mcp: McpClients | None = None
    """Of its MCP servers, if it has some. The root agent opens them, so that its journal says what becomes of them."""

    def repository_notes(self) -> tuple[str, ...]:
        """What git cannot do in the sandbox, and what an earlier run has left."""
        note = self.policy.git.note if self.policy else ""
        return (*filter(None, [note]), *(self.inspection.left if self.inspection else ()))


def context_file(path: Path | None) -> ContextPayload | None:
    """`--context FILE`: by reference, however large."""
    return None if path is None else from_file(path)
