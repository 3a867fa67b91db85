"""`rlm mcp`: rlm as an MCP server on stdin and stdout, with the tools `run`, `resume` and `show`.

`rlm mcp login NAME` is for the opposite direction: it logs the user in to a server that rlm uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from rlm.broker.protocol import OPTIONS
from rlm.cli.arguments import CommandLine
from rlm.cli.own_process import ending_orphans, harden_process
from rlm.cli.signals import closing_in_order, run_until_signal
from rlm.cli.streams import say
from rlm.config.environment import broker_address, state_folder, without_effect
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.core.budget import Stop
from rlm.core.task import NO_NEW_TASK, RunResult, check_task
from rlm.errors import AgentError, ConfigError
from rlm.host.host import Host
from rlm.host.resume import resumed_spec
from rlm.host.resumed_settings import GivenSettings
from rlm.host.spec import AgentSpec, context_file
from rlm.mcp.package import OnProgress
from rlm.present.show import show_tree
from rlm.present.titles import title
from rlm.process.limits import check_limits
from rlm.sessions.find import find_agent, sessions_home
from rlm.sessions.records import CellStartRecord, MessageRecord, Record
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import read_tree
from rlm.text.styled import Canvas

_INSTRUCTIONS = """\
rlm is a coding agent with a persistent IPython kernel. `run` gives it a task, `resume` continues a session, `show`
reads one. A run may take minutes; it reports its progress, and cancelling the call stops it."""
_WIDTH = 120


def run(line: CommandLine) -> int:
    """
    Raises:
        ConfigError: a cell started the command, or a setting is not allowed.
    """
    if broker_address() is not None:
        raise ConfigError(f"`rlm mcp` is for a shell. In a cell use rlm.run, with {', '.join(OPTIONS)}.")
    words = line.all_words
    if words:
        from rlm.cli.mcp_login import login

        return login(line, words)
    config = read_config(line.settings)
    harden_process(debug=config.debug)
    check_limits()
    for warning in without_effect():
        say(f"rlm: {warning}")
    with closing_in_order(), ending_orphans():
        run_until_signal(_serve(config, line.settings))
    return exit_codes.DONE


async def _serve(config: Config, flags: Mapping[str, str]) -> None:
    from rlm.mcp.serving import serve

    async with Host(config) as host:
        tools = OfferedTools(host, config, flags, Path.cwd())
        await serve("rlm", _INSTRUCTIONS, [tools.run, tools.resume, tools.show])


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools that a client can call. Their settings are those of the command; a client can only lower the limits."""

    host: Host
    config: Config
    flags: Mapping[str, str]
    folder: Path

    async def run(
        self,
        on_progress: OnProgress,
        task: str,
        cwd: str = "",
        max_turns: int | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Have rlm, an autonomous coding agent, work on a task until it is done.

        Args:
            task: what to do, in words; the agent knows nothing else of your conversation.
            cwd: the folder to work in, which must be the one where this server was started, or below it.
            max_turns: model calls at most.
            timeout: seconds at most.
        """
        place = (self.folder / cwd).resolve()
        if not place.is_relative_to(self.folder.resolve()) or not place.is_dir():
            raise ConfigError(f"cwd={cwd!r} is not a folder in {self.folder}.")
        config = self._limited(self.config, max_turns)
        spec = AgentSpec(check_task(task), config, place, context_file(config.context))
        return await self._ask(spec, timeout, on_progress)

    async def resume(
        self,
        on_progress: OnProgress,
        session: str,
        task: str = NO_NEW_TASK,
        max_turns: int | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Go on with a session of rlm: its conversation and settings are kept, the kernel is a fresh one.

        Args:
            session: its id, or as many of its first digits as are unique.
            task: what to do next.
            max_turns: model calls at most.
            timeout: seconds at most.
        """
        spec = resumed_spec(session, GivenSettings(self.flags), self.folder)
        limited = self._limited(spec.config, max_turns)
        return await self._ask(
            AgentSpec(check_task(task), limited, spec.cwd, spec.context, earlier=spec.earlier), timeout, on_progress
        )

    async def show(self, on_progress: OnProgress, session: str = "", whole: bool = False) -> str:  # noqa: ARG002
        """Read a session of rlm as text: what was said, what ran and what came of it.

        Args:
            session: its id or that of a sub-agent, or the first digits; the newest session without one.
            whole: long outputs are not cut.
        """
        found = find_agent(sessions_home(self.config, self.folder), session or None, key_or_none(state_folder()))
        text = StringIO()
        show_tree(read_tree(found.own_folder), Canvas(text.write, width=_WIDTH), whole=whole)
        return text.getvalue()

    def _limited(self, config: Config, max_turns: int | None) -> Config:
        if max_turns is None:
            return config
        if max_turns < 1:
            raise ConfigError(f"max_turns={max_turns} is not allowed: it takes a whole number, at least 1.")
        return replace(config, max_turns=min(max_turns, config.max_turns))

    async def _ask(self, spec: AgentSpec, timeout: float | None, on_progress: OnProgress) -> dict[str, Any]:
        watcher = _Watcher(on_progress)
        most = min(filter(None, (timeout, spec.config.timeout)), default=None)
        agent = await self.host.new_run(spec, watch=watcher.hear)
        async with agent:
            try:
                return _report(await agent.ask(spec.task, most))
            except AgentError as error:
                if error.stop != Stop.TIMEOUT or agent.session is None:
                    raise
                stopped = RunResult("", Stop.TIMEOUT, agent.session.tree_usage, 0, agent.session.folder, str(error))
                return _report(stopped)


class _Watcher:
    """Reports an agent's steps to the client, with the number of its turns as progress."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._turns = 0

    def hear(self, record: Record) -> None:
        match record:
            case MessageRecord(role="assistant"):
                self._turns += 1
                self._on_progress(self._turns, None, f"turn {self._turns}")
            case CellStartRecord():
                # the protocol requires progress to grow with each notification
                self._on_progress(self._turns + 0.5, None, f"{record.tool}: {title(record.tool, record.arguments)}")


def _report(result: RunResult) -> dict[str, Any]:
    usage = {"prompt_tokens": result.usage.prompt, "completion_tokens": result.usage.completion}
    cost = {} if result.usage.cost is None else {"cost": result.usage.cost}
    return {
        "answer": result.answer,
        "ok": result.ok,
        "stop": str(result.stop),
        "session": result.session_dir.name,
        "turns": result.turns,
        "usage": usage | cost,
    }
