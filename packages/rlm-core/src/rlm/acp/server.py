"""The agent of a client: implements each request of the protocol. `router` has validated the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rlm.acp.options import AUTO, CONFIRM, MODE, MODEL, MODES, SANDBOX, with_servers
from rlm.acp.prompt import read_prompt
from rlm.acp.trainer import Contract, read_contract
from rlm.config.environment import state_folder
from rlm.config.settings import Config
from rlm.config.sources import read_config, read_folder, with_values
from rlm.core.messages import Wire
from rlm.errors import ConfigError, CredentialsError, SessionError, UnknownSession
from rlm.process.signals import until_ended
from rlm.sessions.signing_key import key_or_none
from rlm.version import VERSION

if TYPE_CHECKING:  # modules for a session are imported with the first session, so that `initialize` is answered earlier
    from acp import schema

    from rlm.acp.session import AcpSession, Client
    from rlm.host.host import Host
    from rlm.sessions.store import ListedSession

PROTOCOL = 1
_PAGE = 50
"""Sessions per response."""

_API_KEY = "api-key"


class AcpServer:
    """Owns the hosts and the sessions. Use it as a context manager; set `client` before the first session.

    Sessions share one host unless their client brings its own provider.
    """

    client: Client

    def __init__(self, flags: Mapping[str, str], log: Callable[[str], None]) -> None:
        """
        Raises:
            ConfigError: a flag or a variable is not allowed.
        """
        self._flags = flags
        self._config = read_config(flags)
        self._log = log
        self._stack = AsyncExitStack()
        self._hosts: dict[tuple[str | None, str | None, bool], Host] = {}
        self._opening = asyncio.Lock()
        self._sessions: dict[str, AcpSession] = {}
        self._folders: dict[str, Path] = {}
        """The folders of sessions that the client may know."""
        self._asking: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._asking:
            task.cancel()
        try:
            await until_ended(self._asking)
        finally:
            closing = [asyncio.ensure_future(session.close()) for session in self._sessions.values()]
            try:
                await until_ended(closing)
            finally:
                await asyncio.gather(*closing, return_exceptions=True)  # a session that cannot be closed: the rest is
                await self._stack.aclose()

    # ---- the connection

    async def initialize(self, request: schema.InitializeRequest) -> Wire:
        auth = request.client_capabilities.auth if request.client_capabilities else None
        return {
            "protocolVersion": PROTOCOL,
            "agentInfo": {"name": "rlm", "title": "rlm", "version": VERSION},
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": True, "audio": False, "embeddedContext": True},
                "mcpCapabilities": {"http": True, "sse": True},
                "sessionCapabilities": {"list": {}, "resume": {}, "close": {}, "delete": {}},
            },
            "authMethods": auth_methods(terminal=bool(auth and auth.terminal)),
            "_meta": {"steering": {"supported": True}},
        }

    async def authenticate(self, request: schema.AuthenticateRequest) -> Wire:
        """Check that rlm has a key. There is no login: the key is configured, or the user provides it.

        Raises:
            CredentialsError: there is no key; the message says what to do.
            ConfigError: there is no such method.
        """
        if request.method_id not in [method["id"] for method in auth_methods(terminal=True)]:
            raise ConfigError(f"Unknown authentication method {request.method_id!r}.")
        if self._config.api_key is None and self._config.base_url is None and not self._config.recording:
            from rlm.host.factories import NO_KEY

            raise CredentialsError(NO_KEY)
        return {}

    # ---- sessions

    async def new_session(self, request: schema.NewSessionRequest) -> Wire:
        from rlm.host.spec import AgentSpec, context_file

        cwd = _folder(request.cwd)
        contract = read_contract(request.field_meta)
        config = self._config if contract is None else contract.config(self._config)
        config = _with_servers(config, request.mcp_servers)
        spec = AgentSpec("", config, cwd, context_file(config.context))
        if contract is not None:
            if contract.ignored:
                self._log(f"rlm does not support {', '.join(contract.ignored)}; it has no effect.")
            spec = replace(spec, appends=contract.appends, environment=contract.environment)
        session = await self._open(spec, contract)
        return {"sessionId": session.id} | session.options()

    async def load_session(self, request: schema.LoadSessionRequest) -> Wire:
        """Show the conversation again, as updates, before the response."""
        from rlm.acp.updates import history_updates
        from rlm.sessions.store import read_tree

        session = await self._reopened(request)
        tree = await asyncio.to_thread(read_tree, session.folder)
        for update in history_updates(tree):
            self.client.update(session.id, update)
        return session.options()

    async def resume_session(self, request: schema.ResumeSessionRequest) -> Wire:
        return (await self._reopened(request)).options()

    async def list_sessions(self, request: schema.ListSessionsRequest) -> Wire:
        """The user's sessions in a folder, most recently used first."""
        from rlm.sessions.find import sessions_home
        from rlm.sessions.store import list_sessions

        cwd = _folder(request.cwd) if request.cwd else Path.cwd()
        home, key = sessions_home(self._config, cwd), key_or_none(state_folder())
        listed = await asyncio.to_thread(list_sessions, home, key)
        own = [each for each in listed if not each.foreign and each.meta.turns]
        if request.cwd:
            own = [each for each in own if each.meta.cwd == str(cwd)]
        self._folders |= {each.name: each.folder for each in own}
        names = [each.name for each in own]
        start = names.index(request.cursor) + 1 if request.cursor in names else 0
        page = own[start : start + _PAGE]
        more = {"nextCursor": page[-1].name} if len(own) > start + _PAGE else {}
        return {"sessions": [_listed(each) for each in page]} | more

    async def close_session(self, request: schema.CloseSessionRequest) -> Wire:
        session = self._session(request.session_id)
        del self._sessions[session.id]
        return await session.close()

    async def delete_session(self, request: schema.DeleteSessionRequest) -> Wire:
        from rlm.sessions.removal import remove_session

        if session := self._sessions.pop(request.session_id, None):
            await session.close()
        folder = self._folder_of(request.session_id, Path.cwd())
        await asyncio.to_thread(remove_session, folder, Path.cwd())
        self._folders.pop(request.session_id, None)
        return {}

    # ---- requests of a session

    async def prompt(self, request: schema.PromptRequest) -> Wire:
        session = self._session(request.session_id)
        blocks = [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in request.prompt]
        return await session.prompt(read_prompt(blocks))

    def cancel(self, id: str) -> None:
        if session := self._sessions.get(id):
            session.cancel()

    def steer(self, params: Wire) -> Wire:
        """Send a message to a working agent; an extension that the package `verifiers` knows."""
        session = self._session(str(params.get("sessionId")))
        blocks = params.get("prompt")
        if session.steer(read_prompt(blocks if isinstance(blocks, list) else []).task):
            return {"outcome": "accepted"}
        return {"outcome": "promptRequired", "reason": "noRunningTurn"}

    async def set_mode(self, request: schema.SetSessionModeRequest) -> Wire:
        session = self._session(request.session_id)
        self._set_mode(session, request.mode_id)
        session.tell_options()
        return {}

    async def set_config_option(self, request: schema.SetSessionConfigOptionSelectRequest) -> Wire:
        session = self._session(request.session_id)
        match request.config_id:
            case "mode":
                self._set_mode(session, request.value)
            case "model":
                session.run.agent.use_model(request.value)
            case "sandbox":
                values = {SANDBOX: request.value, MODEL: session.run.agent.config.model}
                await session.reopen(lambda: self._resumed(session.id, session.cwd, values))
            case _:
                raise ConfigError(f"There is no option {request.config_id!r}. There are {MODE}, {MODEL}, {SANDBOX}.")
        return {"configOptions": session.config_options()}

    # ---- opening of sessions

    def _set_mode(self, session: AcpSession, mode: str) -> None:
        if mode not in MODES:
            raise ConfigError(f"There is no mode {mode!r}. There are {', '.join(MODES)}.")
        session.set_mode(mode)

    async def _open(self, spec: Any, contract: Contract | None = None) -> AcpSession:
        from rlm.acp.session import AcpSession

        host = await self._host(spec.config, asked=contract is not None)
        mode = CONFIRM if self._config.confirm else AUTO
        session = AcpSession(self.client, host, self._log, mode=mode, contract=contract)
        await session.open(spec)
        self._sessions[session.id] = session
        self._folders[session.id] = session.folder
        if contract is None and not spec.config.recording:
            task = asyncio.ensure_future(self._list_models(session, host))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return session

    async def _host(self, config: Config, *, asked: bool) -> Host:
        from rlm.host.host import Host

        key = (config.base_url, config.api_key, asked)
        async with self._opening:
            if key not in self._hosts:
                self._hosts[key] = await self._stack.enter_async_context(Host(config, request_ids=asked))
            return self._hosts[key]

    async def _list_models(self, session: AcpSession, host: Host) -> None:
        """Send the list of models to the client when the endpoint has returned it."""
        session.models = await host.model_names()
        if session.models:
            session.tell_options()

    async def _reopened(self, request: schema.LoadSessionRequest | schema.ResumeSessionRequest) -> AcpSession:
        id = request.session_id
        if id in self._sessions:
            return self._sessions[id]
        spec = await asyncio.to_thread(self._resumed, id, _folder(request.cwd), {})
        return await self._open(replace(spec, config=_with_servers(spec.config, request.mcp_servers)))

    def _resumed(self, id: str, cwd: Path, values: Mapping[str, object]) -> Any:
        from rlm.host.resume import resumed_spec
        from rlm.host.resumed_settings import GivenSettings

        folder = self._folder_of(id, cwd)
        chosen = GivenSettings(self._flags, {**values, "home": folder.parent.parent})
        return resumed_spec(id, chosen, cwd, cwd=cwd)

    def _folder_of(self, id: str, cwd: Path) -> Path:
        """
        Raises:
            SessionError: there is no such session.
        """
        from rlm.sessions.find import sessions_home
        from rlm.sessions.store import ID

        folder = self._folders.get(id)
        if folder is None and ID.fullmatch(id):
            folder = sessions_home(self._config, cwd) / "sessions" / id
        if folder is None or not folder.is_dir():
            raise SessionError(f"There is no session {id}.")
        return folder

    def _session(self, id: str) -> AcpSession:
        """
        Raises:
            UnknownSession: the session is not open.
        """
        if id not in self._sessions:
            raise UnknownSession(f"Unknown session {id}: it is not open. Load it, or start a new one.")
        return self._sessions[id]


def auth_methods(*, terminal: bool) -> list[Wire]:
    """The ways to give rlm a key. The registry of agents requires an `agent` or a `terminal` entry."""
    about = "rlm reads OPENAI_API_KEY, or RLM_BASE_URL and RLM_API_KEY, from its environment"
    methods: list[Wire] = [{"id": _API_KEY, "name": "API key from the environment", "description": about}]
    names = [
        {"name": "OPENAI_API_KEY", "label": "API key", "secret": True},
        {"name": "OPENAI_BASE_URL", "label": "Endpoint", "secret": False, "optional": True},
        {"name": "RLM_MODEL", "label": "Model", "secret": False, "optional": True},
    ]
    methods.append({"id": "environment", "name": "Set an API key", "type": "env_var", "vars": names})
    if terminal:
        check = "rlm doctor: check this set-up, and show how to fix it"
        methods.append(
            {"id": "doctor", "name": "Check", "description": check, "type": "terminal", "args": ["--doctor"]}
        )
    return methods


def _with_servers(config: Config, servers: Sequence[Any] | None) -> Config:
    if not servers:
        return config
    named = [server.model_dump(mode="json", by_alias=True, exclude_none=True) for server in servers]
    return with_values(config, {"mcp": with_servers(config.mcp, named)})


def _folder(cwd: str) -> Path:
    """
    Raises:
        ConfigError: the path is no folder, or is not absolute.
    """
    if not Path(cwd).is_absolute():
        raise ConfigError(f"cwd must be an absolute path, not {cwd!r}.")
    return read_folder("cwd", cwd)


def _listed(session: ListedSession) -> Wire:
    meta = session.meta
    updated = datetime.fromtimestamp(meta.updated_time, UTC).isoformat(timespec="seconds")
    return {"sessionId": session.name, "cwd": meta.cwd, "title": meta.prompt_preview, "updatedAt": updated}
