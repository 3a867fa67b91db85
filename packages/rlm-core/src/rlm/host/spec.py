"""What an agent does and how (`AgentSpec`), and what all agents of one run share (`RunContext`). Values."""

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
from rlm.host.agent_tool import Approve
from rlm.host.answers import AnswerSchema
from rlm.host.cache_warmup import CacheWarmup
from rlm.host.factories import ModelFactory
from rlm.kernel import KernelServer
from rlm.process import files
from rlm.process.supervisor import Supervisor
from rlm.skills import PromptContext
from rlm.text.bounded import Quota

if TYPE_CHECKING:
    from rlm.mcp import McpClients
    from rlm.sandbox import Inspection, SandboxPolicy

_ISOLATION = "worktree"
"""The only isolation of a sub-agent."""


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """The session to continue, or with `fork` a copy of it."""

    folder: Path
    fork: bool = False
    rerun: bool = False
    """Run its cells again first, so that its variables exist."""
    rerun_agents: bool = False
    """Run sub-agents and model calls again, also those with a recorded result."""
    doubt: str = ""
    """Why it may not be the user's own, although the user trusts it; empty if it is."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """Its settings, as texts by name."""
    notes: tuple[str, ...] = ()
    """Differences of this run that the user should know."""
    moved_from: str = ""
    """Where the session worked, if this run works elsewhere."""


@dataclass(frozen=True, slots=True)
class PromptAppends:
    """Text for the system prompts of sub-agents, instead of the text for the root's. None: the same text.

    A leaf is an agent that can have no sub-agents; its default is `subagent`.
    """

    subagent: str | None = None
    leaf: str | None = None

    def text(self, config: Config, depth: int, *, leaf: bool) -> str:
        """Return the text for an agent with these settings."""
        own = config.append_to_system_prompt
        if depth == 0:
            return own or ""
        chain = (self.leaf, self.subagent, own) if leaf else (self.subagent, own)
        return next((text for text in chain if text is not None), "")


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """The first task of an agent, and its settings."""

    task: str
    config: Config
    cwd: Path
    context: ContextPayload | None = None
    system_prompt: str | None = None
    earlier: ResumeOptions | None = None
    number: int = 0
    """The number of agents that the run had before it."""
    schema: AnswerSchema | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of kernels and commands, for all agents of the run."""
    attempts: tuple[str, ...] = ()
    """Agents (paths in the tree) that have begun the same task in earlier runs, and did not finish it."""
    appends: PromptAppends = field(default_factory=PromptAppends)
    isolated: bool = False
    """It works in its own git worktree, instead of `cwd`."""
    worktrees: tuple[Path, ...] = ()
    """The folders of its worktree and of the worktrees of the agents above it."""

    def for_child(self, task: str, options: Mapping[str, str]) -> AgentSpec:
        """Return the spec of a sub-agent: this one, changed by the arguments of a call of `rlm.run`.

        Raises:
            ConfigError: an argument is not allowed.
        """
        rest = dict(options)
        # follow links once; later code that starts a program in it refuses links that were added since
        cwd = files.resolve(read_folder("cwd", str(self.cwd / rest.pop("cwd")))) if "cwd" in rest else self.cwd
        prompt = rest.pop("system_prompt", self.system_prompt)
        servers = _selected_servers(self.config.mcp, rest.pop("mcp", None))  # only servers of the parent
        isolation = rest.pop("isolation", "")
        if isolation not in ("", _ISOLATION):
            raise ConfigError(f"isolation={isolation!r} is not allowed: it takes {_ISOLATION!r}.")
        config = override(replace(self.config, timeout=None, mcp=servers), rest)
        return AgentSpec(task, config, cwd, system_prompt=prompt, isolated=isolation != "", worktrees=self.worktrees)


def _selected_servers(servers: McpServers, names: str | None) -> McpServers:
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
    """The owner of the private folder, for sockets and data for kernels."""
    environment: dict[str, str]
    """Variables of kernels and commands."""
    prompt_context: PromptContext
    shell: Path
    """The shell of commands, found before any cell has run."""
    git: Path | None
    """Found at the same time as the shell."""
    quota: Quota
    """The disk space that the outputs of all agents may take."""
    warmup: CacheWarmup
    appends: PromptAppends = field(default_factory=PromptAppends)
    stream: bool = False
    """The model's text is streamed to an observer."""
    ahead: bool = True
    """The root's kernel is started while its first request is in flight."""
    approve: Approve | None = None
    """Asks the user before each cell, command and edit."""
    policy: SandboxPolicy | None = None
    """The policy of the sandbox, if there is one."""
    inspection: Inspection | None = None
    """Compares the repositories that cells may change before and after the run."""
    mcp: McpClients | None = None
    """The MCP clients, if the run has servers. The root agent opens them, so its journal has their failures."""

    def repository_notes(self) -> tuple[str, ...]:
        """Return notes on what git cannot do in the sandbox, and on what an earlier run has left."""
        note = self.policy.git.note if self.policy else ""
        return (*filter(None, [note]), *(self.inspection.left if self.inspection else ()))


def context_file(path: Path | None) -> ContextPayload | None:
    """Return the payload of `--context FILE`: a reference to the file, whatever its size."""
    return None if path is None else from_file(path)
