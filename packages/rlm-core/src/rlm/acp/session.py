"""One session of a client: a run on a host that is asked repeatedly."""

from __future__ import annotations

import asyncio
import base64
import mimetypes
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from rlm.acp.edges import SemanticEdges
from rlm.acp.options import AUTO, config_options, mode_state
from rlm.acp.prompt import PromptContent
from rlm.acp.trainer import Contract, snapshot
from rlm.acp.updates import UpdateStream
from rlm.core.budget import Stop
from rlm.core.messages import Usage, Wire
from rlm.core.task import RunResult
from rlm.errors import AgentError, ConfigError
from rlm.host.agent_tool import Approval
from rlm.host.host import Host
from rlm.host.run import Run
from rlm.host.spec import AgentSpec
from rlm.process import files
from rlm.process.signals import until_ended
from rlm.sessions.records import CellOutputRecord, DisplayRecord, Record, SessionRecord
from rlm.text.clip import one_line

PERIOD = 0.2
"""Seconds between two updates of a call's output."""
_LARGEST = 2_000_000
"""Maximum bytes of a picture that is sent; for a larger one its path is sent."""
_TITLE = 80  # characters

_STOPS = {
    Stop.DONE: "end_turn",
    Stop.MAX_TURNS: "max_turn_requests",
    Stop.AGENT_BUDGET: "max_turn_requests",
    Stop.TIMEOUT: "max_turn_requests",
    Stop.CONTENT_FILTER: "refusal",
    Stop.CANCELLED: "cancelled",
}
"""Stop reasons of the protocol. Limits that are missing here are limits of tokens."""
_ALLOW, _ALWAYS, _REJECT = "allow_once", "allow_always", "reject_once"
_OPTIONS = (
    {"optionId": _ALLOW, "name": "Allow", "kind": _ALLOW},
    {"optionId": _ALWAYS, "name": "Allow all in this session", "kind": _ALWAYS},
    {"optionId": _REJECT, "name": "Reject", "kind": _REJECT},
)


class Client(Protocol):
    """The client that watches the sessions and answers questions."""

    def update(self, session: str, update: Wire) -> None:
        """Send an update. Does not wait."""
        ...

    async def ask_permission(self, session: str, call: Wire, options: Sequence[Wire]) -> str | None:
        """Return the id of the option that the user chose; None if the question was withdrawn.

        Raises:
            Exception: the client cannot be asked.
        """
        ...


class AcpSession:
    """Owns the run, from `open` to `close`."""

    def __init__(
        self,
        client: Client,
        host: Host,
        log: Callable[[str], None],
        *,
        mode: str = AUTO,
        contract: Contract | None = None,
    ) -> None:
        self.id = ""
        self.mode = mode
        self.models: Sequence[str] = ()
        self._client = client
        self._host = host
        self._contract = contract
        self._log = log
        self._stack = AsyncExitStack()
        self._run: Run | None = None
        self._updates: UpdateStream | None = None
        self._edges = SemanticEdges()
        self._turn: asyncio.Task[RunResult] | None = None
        self._cancelled = False
        self._last_stop: Stop | None = None
        self._asking = asyncio.Lock()
        self._allowed = False
        self._flushing: asyncio.TimerHandle | None = None
        self._held: list[Wire] | None = []
        """Updates from before the client knows the session's id."""

    @property
    def folder(self) -> Path:
        assert self.run.session is not None, "it is open"
        return self.run.session.folder

    @property
    def cwd(self) -> Path:
        assert self.run.session is not None, "it is open"
        return Path(self.run.session.meta.cwd)

    @property
    def run(self) -> Run:
        assert self._run is not None, "it is open"
        return self._run

    async def open(self, spec: AgentSpec) -> None:
        """
        Raises:
            RlmError: a requested feature is unavailable.
        """
        spec = replace(spec, config=replace(spec.config, confirm=True))  # the mode decides whether the user is asked
        async with AsyncExitStack() as stack:
            run = await self._host.new_run(spec, watch=self._hear, stream=True, approve=self._approve)
            self._run = await stack.enter_async_context(run)
            self._stack = stack.pop_all()

    async def reopen(self, make_spec: Callable[[], AgentSpec]) -> None:
        """Close the run, and continue the session in a new run."""
        self.check_idle()
        if self._contract is not None:
            raise ConfigError("A trainer configured this session. It cannot be changed.")
        spec = await asyncio.to_thread(make_spec)
        await self._stack.aclose()
        await self.open(spec)

    async def close(self) -> Wire:
        """Cancel the turn, and close the run. Return the data for a trainer."""
        self.cancel()
        try:
            await until_ended([self._turn] if self._turn is not None else [])
        finally:
            if self._flushing is not None:
                self._flushing.cancel()
            await self._stack.aclose()
        return self._meta()

    # ---- a turn

    def check_idle(self) -> None:
        """
        Raises:
            ConfigError: the session is working on a prompt.
        """
        if self.working:
            raise ConfigError("The session works on a prompt. Cancel it first.")

    @property
    def working(self) -> bool:
        """Whether the agent works on a prompt."""
        return self._turn is not None and not self._turn.done()

    async def prompt(self, prompt: PromptContent) -> Wire:
        """Work on a prompt until the agent stops or is cancelled. Return the response.

        Raises:
            RlmError: the agent failed.
        """
        self.check_idle()
        self._cancelled = False
        self._turn = asyncio.ensure_future(self.run.ask(prompt.task, None, prompt.pictures))
        self._release()
        if self.run.session is not None and not self.run.session.meta.turns:
            self.send({"sessionUpdate": "session_info_update", "title": one_line(prompt.task, _TITLE)})
        self._last_stop = Stop.ERROR
        self._last_stop = await self._stop(self._turn)
        return {
            "stopReason": _STOPS.get(self._last_stop, "max_tokens"),
            "usage": _usage(self._session_usage()),
        } | self._meta()

    async def _stop(self, turn: asyncio.Task[RunResult]) -> Stop:
        try:
            await asyncio.wait({turn})
        except asyncio.CancelledError:  # the client has closed the connection
            turn.cancel()
            await asyncio.wait({turn})
            raise
        if self._cancelled or turn.cancelled():
            if not turn.cancelled() and (failed := turn.exception()):
                self._log(f"while it was cancelled: {failed}")
            self.run.agent.user.take_undelivered()
            return Stop.CANCELLED
        try:
            return turn.result().stop
        except AgentError as error:
            if error.stop != Stop.TIMEOUT:
                raise
            return Stop.TIMEOUT

    def cancel(self) -> None:
        """Cancel the turn, if there is one. The request that began it is then answered with `cancelled`."""
        if self._turn is not None and not self._turn.done():
            self._cancelled = True
            self._turn.cancel()

    def steer(self, text: str) -> bool:
        """Pass a message to the agent before its next request. Return whether an agent is working."""
        if self.working:
            self.run.agent.user.say(text)
        return self.working

    # ---- options of the client

    def options(self) -> Wire:
        """The modes and the options, in the form of a response."""
        return {"modes": mode_state(self.mode), "configOptions": self.config_options()}

    def config_options(self) -> list[Wire]:
        config = self.run.agent.config
        return config_options(self.mode, config.model, self.models, str(config.sandbox))

    def set_mode(self, mode: str) -> None:
        """Set the mode, and tell the client. An earlier "allow all" no longer counts."""
        self.mode, self._allowed = mode, False
        self.send({"sessionUpdate": "current_mode_update", "currentModeId": mode})

    def tell_options(self) -> None:
        """Send the options to the client, after one of them has changed."""
        self.send({"sessionUpdate": "config_option_update", "configOptions": self.config_options()})

    async def _approve(self, tool: str, arguments: dict[str, Any]) -> Approval:
        """Ask the client for approval, one question at a time. See `rlm.host.agent_tool.Approve`."""
        if self.mode == AUTO or self._allowed or self._updates is None:
            return Approval(ok=True)
        async with self._asking:
            if self._allowed:
                return Approval(ok=True)
            call = self._updates.running(tool, arguments)
            chosen = await self._client.ask_permission(self.id, call, _OPTIONS)
            self._allowed = chosen == _ALWAYS
        return Approval(ok=chosen in (_ALLOW, _ALWAYS))

    # ---- updates to the client

    def send(self, update: Wire) -> None:
        """Send an update; before the first prompt, hold it back, because the client does not know the session yet."""
        if self._held is None:
            self._client.update(self.id, update)
        else:
            self._held.append(update)

    def _release(self) -> None:
        held, self._held = self._held or (), None
        for update in held:
            self.send(update)

    def _hear(self, record: Record) -> None:
        if isinstance(record, SessionRecord):
            self._introduce(record)
        assert self._updates is not None, "the first record says which session it is"
        self._edges.add(record)
        for update in self._updates.updates(record):
            self.send(update)
        if isinstance(record, CellOutputRecord | DisplayRecord) and self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(PERIOD, self._flush)

    def _introduce(self, record: SessionRecord) -> None:
        self.id = record.session_id
        for note in record.notes:
            self._log(note)
        prefix = f"{record.session_id}-{record.turns}-{id(self._stack):x}"
        self._updates = UpdateStream(record.cwd, _picture, self._window, lambda: self._session_usage().cost, prefix)

    def _flush(self) -> None:
        self._flushing = None
        assert self._updates is not None, "something has been printed"
        for update in self._updates.flush():
            self.send(update)

    def _window(self) -> int:
        return (self._run.agent.window if self._run is not None else None) or 0

    def _session_usage(self) -> Usage:
        session = self._run.session if self._run is not None else None
        return session.tree_usage if session is not None else Usage()

    def _meta(self) -> Wire:
        """The state of the session, for a trainer."""
        if self._contract is None or self.run.session is None:
            return {}
        meta = self.run.session.meta
        return {"_meta": snapshot(self._contract, meta, self._last_stop) | self._edges.meta()}


def _picture(path: str) -> Wire | None:
    kind = mimetypes.guess_type(path)[0] or ""
    try:
        data = files.read(Path(path))
    except OSError:
        return None
    if kind not in ("image/png", "image/jpeg", "image/gif", "image/webp") or len(data) > _LARGEST:
        return {"type": "resource_link", "uri": Path(path).as_uri(), "name": Path(path).name}
    return {"type": "image", "mimeType": kind, "data": base64.b64encode(data).decode()}


def _usage(usage: Usage) -> Wire:
    """The usage of the whole session, in the form of the protocol."""
    return {
        "totalTokens": usage.prompt + usage.completion,
        "inputTokens": usage.prompt,
        "outputTokens": usage.completion,
        "thoughtTokens": usage.reasoning,
        "cachedReadTokens": usage.cached,
    }
