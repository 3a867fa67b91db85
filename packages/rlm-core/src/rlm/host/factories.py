"""Creates models, MCP clients and sandbox policies from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rlm.config.child_env import child_environment
from rlm.config.environment import state_folder
from rlm.config.readers import SandboxMode, Streaming
from rlm.config.settings import Config
from rlm.core.context import Combined, Compact, LastTurns
from rlm.core.ports import Context, Model, Sink
from rlm.errors import ConfigError, CredentialsError, KernelError
from rlm.host.answers import AnswerSchema, response_format
from rlm.process import files
from rlm.process.interpreter import project_python
from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.providers.client import OpenAIClient
from rlm.providers.endpoint import Endpoint
from rlm.providers.limiter import Gate
from rlm.sessions.signing_key import key_folders
from rlm.skills import PromptContext

if TYPE_CHECKING:
    from rlm.mcp import McpClients
    from rlm.providers.replay import Recording
    from rlm.sandbox import SandboxPolicy

MEGABYTE = 1_000_000

NO_KEY = (
    "There is no API key. Set OPENAI_API_KEY (or RLM_API_KEY); for a local server set RLM_BASE_URL; "
    "or try `rlm demo`, which needs neither."
)


def has_endpoint(config: Config) -> bool:
    """Whether these settings name a model that can be asked: a recording, an endpoint, or a key."""
    return config.recording is not None or config.api_key is not None or config.base_url is not None


class ModelFactory:
    """Gives each agent its model. Owns one client and one copy of each recording, for all runs of a host.

    The client is created at its first use: a recorded run never needs it.
    """

    def __init__(self, config: Config, *, request_ids: bool = False, gate: Gate | None = None) -> None:
        """The endpoint, its key and API, `stream` and `sdk_max_retries` come from `config`.

        `gate` limits requests together with those of other processes.
        """
        self._config = config
        self._request_ids = request_ids
        self._gate = gate
        self._client: OpenAIClient | None = None
        self._recordings: dict[Path, Recording] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def check(self, config: Config) -> None:
        """Load everything that `config.model` needs, before anything is changed.

        Raises:
            CredentialsError: the model needs a provider, and there is neither a key nor an endpoint.
            ConfigError: the recording cannot be read, or `max_cost` is set and there is no price.
        """
        if config.recording:
            self._recording(config.recording)
        elif not has_endpoint(self._config):
            raise CredentialsError(NO_KEY)
        elif self._client is None:
            client = OpenAIClient(
                self._endpoint(),
                self._config.sdk_max_retries,
                api=self._config.api,
                request_ids=self._request_ids,
                gate=self._gate,
            )
            self._client = await self._stack.enter_async_context(client)
        if config.max_cost is not None:
            await self._check_prices(config)

    async def _check_prices(self, config: Config) -> None:
        for model in filter(None, (config.model, config.subagent_model)):
            if config.recording or self._client is None or not await self._client.prices.knows(model):
                raise ConfigError(
                    f"RLM_MAX_COST is for models with a published price, and {model} has none at this endpoint. "
                    "Set RLM_MAX_TOTAL_TOKENS; or install the extra rlm-core[prices], if it is missing."
                )

    def model(
        self,
        config: Config,
        task: str,
        depth: int,
        sink: Sink,
        *,
        stream: bool,
        cache_key: str = "",
        schema: AnswerSchema | None = None,
    ) -> Model:
        """Return the model of one agent. `cache_key`: see `OpenAIClient.model`.

        Raises:
            CredentialsError: as in `check`, for a sub-agent with a provider whose parent uses a recording.
        """
        if config.recording:
            return self._recording(config.recording).model(task)
        if self._client is None:
            raise CredentialsError(NO_KEY)
        params = config.model_params
        if schema is not None and self._endpoint().is_openai:
            params = (response_format(schema) or {}) | params
        if self._config.stream is not Streaming.AUTO:
            stream, params = self._config.stream is Streaming.ON, {**params, "stream": None}
        return self._client.model(config.model, params, depth=depth, sink=sink, stream=stream, cache_key=cache_key)

    def _endpoint(self) -> Endpoint:
        return Endpoint(self._config.base_url, self._config.api_key)

    def window(self, config: Config) -> int | None:
        """Return the size of the model's context in tokens; None if it is not known, or not yet."""
        return None if config.recording or self._client is None else self._client.catalog.window(config.model)

    async def names(self) -> list[str]:
        """Return the names of the models that the endpoint lists; empty if it has no list, or is not used yet."""
        if self._client is None:
            return []
        try:
            return list(await self._client.catalog.models())
        except Exception:  # noqa: BLE001 - many servers have no such list
            return []

    def _recording(self, path: Path) -> Recording:
        from rlm.providers.replay import Recording

        if path not in self._recordings:
            self._recordings[path] = Recording.load(path)
        return self._recordings[path]


def mcp_clients(config: Config, cwd: Path, supervisor: Supervisor, skills: Collection[str]) -> McpClients | None:
    """Return the MCP clients of a run, to be entered; None without MCP servers, or without a kernel."""
    if not config.mcp or "ipython" not in config.tools:
        return None
    from rlm.mcp import LaunchContext, McpClients, name_servers  # most runs have none

    # a server gets only the variables that are harmless in a sandbox, and those that its configuration names
    environment = child_environment(replace(config, sandbox=SandboxMode.BWRAP))
    launch = LaunchContext(cwd, environment, supervisor, state_folder(), config.sandboxed)
    return McpClients(config.mcp, name_servers(config.mcp.names, skills), launch)


@asynccontextmanager
async def open_sandbox_policy(
    config: Config,
    cwd: Path,
    supervisor: Supervisor,
    environment: Mapping[str, str],
    prompt_context: PromptContext | None = None,
) -> AsyncIterator[SandboxPolicy | None]:
    """Open and test the policy of the sandbox for a run in `cwd`; None if no sandbox is asked for.

    Paths that the prompt names, with `prompt_context`, are readable in it, wherever they are.

    Raises:
        ConfigError: the sandbox is unavailable here.
    """
    if not config.sandboxed:
        yield None
        return
    from rlm.sandbox import Sandbox, open_policy

    with (
        closing(ProcessGroups(supervisor)) as groups,
        open_policy(
            cwd,
            config.home,
            supervisor.folder,
            environment,
            groups,
            net=config.sandbox_net,
            memory=config.sandbox_memory * MEGABYTE,
            file_size=config.sandbox_file_size * MEGABYTE,
            private=key_folders(state_folder()),
            shown=_named_in_prompt(config, files.resolve(cwd), environment, prompt_context) if prompt_context else (),
        ) as policy,
    ):
        try:
            async with Sandbox(policy, supervisor.folder) as sandbox:
                await sandbox.handle()
        except KernelError as error:
            raise ConfigError(str(error)) from None
        yield policy


def _named_in_prompt(
    config: Config, cwd: Path, environment: Mapping[str, str], prompt_context: PromptContext
) -> list[Path]:
    """Return the paths outside of the project that the prompt names: a cell in a sandbox must see them too."""
    python = project_python(cwd, environment)
    shown = [Path(cwd, python).parents[1]] if python.endswith("/bin/python") else []
    return [*shown, *prompt_context.files(cwd)] if config.tools else shown


def context_for(config: Config, window: Callable[[], int | None]) -> Context:
    """Return the policy that keeps a conversation within the model's context."""
    compact = Compact(config.summarize_at_tokens, window=window)
    if config.max_turns_in_context is None:
        return compact
    return Combined(LastTurns(config.max_turns_in_context), compact)
