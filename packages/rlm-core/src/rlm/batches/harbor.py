"""An agent for Harbor (the package `harbor`), which installs rlm in its environments and runs it there.

    harbor run -d terminal-bench@2.0 --agent-import-path rlm.batches.harbor:RlmAgent -m openai/gpt-5

Harbor finds the trajectory (ATIF) as `trajectory.json` in the logs of the agent, beside the session. Only Harbor
imports this module, which uses Harbor's types.
"""

# pyright: reportMissingImports=false
# Harbor has a hundred dependencies, which are no part of the development environment.

from __future__ import annotations

import json
import shlex
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from harbor.agents.agent_auth_resolution import ModelConnectionSpec
from harbor.agents.capabilities import AgentCapabilities
from harbor.agents.installed.base import BaseInstalledAgent, with_prompt_template
from harbor.environments.base import BaseEnvironment
from harbor.models.agent.context import AgentContext
from harbor.models.model_api_format import ModelApiFormat

from rlm.errors import ConfigError
from rlm.process import files

_LOGS = "/logs/agent"
_CHECKOUT = "/installed-agent/rlm"
_LEFT_OUT = {".git", ".venv", ".rlm", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_FIND = 'export PATH="$HOME/.local/bin:$PATH"; '


class RlmAgent(BaseInstalledAgent):
    """rlm in the environment of a task. Settings are variables of the agent: `--ae RLM_MAX_TURNS=50`."""

    capabilities = AgentCapabilities(atif=True, base_url=True)
    MODEL_CONNECTION = ModelConnectionSpec(
        default_provider="openai", supported_api_formats=[ModelApiFormat.OPENAI_CHAT_COMPLETIONS]
    )

    def __init__(self, *args: Any, checkout: str | None = None, **kwargs: Any) -> None:
        """`checkout`: a checkout of rlm, which is installed in environments that have no rlm."""
        super().__init__(*args, **kwargs)
        self._checkout = Path(checkout).expanduser() if checkout else None

    @staticmethod
    def name() -> str:
        return "rlm"

    def get_version_command(self) -> str | None:
        return f"{_FIND}rlm --version"

    def parse_version(self, stdout: str) -> str:
        return stdout.strip().removeprefix("rlm ")

    async def install(self, environment: BaseEnvironment) -> None:
        """Install rlm with install.sh of the checkout, if the environment has no rlm.

        Raises:
            ConfigError: there is no rlm, and no checkout.
        """
        there = await environment.exec(f"{_FIND}command -v rlm")
        if there.return_code == 0:
            return
        if self._checkout is None:
            raise ConfigError("The environment has no rlm. Name a checkout to install: --ak checkout=DIR.")
        await self.ensure_system_dependencies(environment, ("curl", "git"))
        with tempfile.TemporaryDirectory(prefix="rlm-harbor-") as folder:  # noqa: TID251 - a new folder
            archive = Path(folder, "rlm.tar.gz")
            _pack(self._checkout, archive)
            await environment.upload_file(archive, "/installed-agent/rlm.tar.gz")
        await self.exec_as_root(environment, f"mkdir -p {_CHECKOUT} && tar -xzf {_CHECKOUT}.tar.gz -C {_CHECKOUT}")
        await self.exec_as_agent(environment, f"RLM_CHECKOUT_PATH={_CHECKOUT} bash {_CHECKOUT}/install.sh")

    @with_prompt_template
    async def run(self, instruction: str, environment: BaseEnvironment, context: AgentContext) -> None:  # noqa: ARG002
        """Run the agent. A limit is no failure: the work so far is still verified."""
        model = f"--model {shlex.quote(self._parsed_model_name)} " if self._parsed_model_name else ""
        home = f"--home {_LOGS}/rlm"
        try:
            await self.exec_as_agent(
                environment,
                f"{_FIND}rlm --limit-ok {home} {model}-- {shlex.quote(instruction)} </dev/null 2>&1 "
                f"| tee {_LOGS}/rlm.txt",
                env=self._endpoint(),
            )
        finally:
            await environment.exec(f"{_FIND}rlm export --format atif {home} -o {_LOGS}/trajectory.json")

    def populate_context_post_run(self, context: AgentContext) -> None:
        """Read the totals from the trajectory, in which sub-agents have separate numbers."""
        try:
            found = json.loads(files.read(files.resolve(self.logs_dir / "trajectory.json")))
        except (OSError, ValueError):
            self.logger.warning("rlm has left no trajectory")
            return
        every = [each["final_metrics"] for each in _tree(found)]
        context.n_input_tokens = sum(each["total_prompt_tokens"] for each in every)
        context.n_output_tokens = sum(each["total_completion_tokens"] for each in every)
        context.n_cache_tokens = sum(each["total_cached_tokens"] for each in every)
        costs = [each.get("total_cost_usd") for each in every]
        context.cost_usd = None if None in costs else sum(filter(None, costs))
        context.metadata = {**(context.metadata or {}), "rlm": found["extra"] | {"agents": len(every)}}

    def _endpoint(self) -> dict[str, str]:
        """Key and URL as environment variables, which Harbor keeps out of its logs."""
        connection = self.model_connection
        variables = {"RLM_API_KEY": connection.api_key, "RLM_BASE_URL": connection.execution_base_url}
        return {name: value for name, value in variables.items() if value}


def _tree(trajectory: dict[str, Any]) -> list[dict[str, Any]]:
    inner = trajectory.get("subagent_trajectories", ())
    return [trajectory, *(each for child in inner for each in _tree(child))]


def _pack(checkout: Path, archive: Path) -> None:
    """Archive the source files of a checkout, without generated files."""

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(member.name).name in _LEFT_OUT else member

    with tarfile.open(archive, "w:gz") as tar:
        tar.add(files.resolve(checkout), arcname=".", filter=wanted)
