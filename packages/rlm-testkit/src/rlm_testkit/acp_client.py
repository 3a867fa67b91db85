"""A client of the Agent Client Protocol, built on the package's client class.

Real pipes connect it to the installed command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from acp.client.connection import ClientSideConnection
from acp.schema import AllowedOutcome, ClientCapabilities, DeniedOutcome, RequestPermissionResponse

from rlm_testkit.cli import Rlm
from rlm_testkit.waiting import eventually

Json = dict[str, Any]
_LIMIT = 2**26  # maximum bytes of a line


@dataclass
class Editor:
    """An editor that stores what it receives. `answers` are the types of options that its user chooses, in order."""

    answers: list[str] = field(default_factory=list)
    updates: list[tuple[str, Json]] = field(default_factory=list)
    permissions_asked: list[Json] = field(default_factory=list)

    def on_connect(self, agent: object) -> None:
        """Required by the package's protocol."""

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append((session_id, update.model_dump(mode="json", by_alias=True, exclude_none=True)))

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Sequence[Any], **_: Any
    ) -> RequestPermissionResponse:
        self.permissions_asked.append(tool_call.model_dump(mode="json", by_alias=True, exclude_none=True))
        wanted = self.answers.pop(0)
        chosen = next((option.option_id for option in options if option.kind == wanted), None)
        if chosen is None:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen))

    def of(self, kind: str, session: str | None = None) -> list[Json]:
        """The updates of one type, in order."""
        return [u for id, u in self.updates if u["sessionUpdate"] == kind and session in (None, id)]

    def text(self, kind: str = "agent_message_chunk", session: str | None = None) -> str:
        return "".join(update["content"]["text"] for update in self.of(kind, session))

    def call(self, id: str) -> list[Json]:
        """The updates about one tool call."""
        return [u for _, u in self.updates if u.get("toolCallId") == id]

    async def wait_for_update(self, kind: str, containing: str = "") -> None:
        await eventually(lambda: any(containing in str(update) for update in self.of(kind)))


@dataclass
class Connection:
    """A connection to `rlm acp`. `lines` is all of its stdout, `err` is its stderr."""

    agent: ClientSideConnection
    editor: Editor
    process: asyncio.subprocess.Process
    lines: list[bytes] = field(default_factory=list)
    err: bytearray = field(default_factory=bytearray)

    async def raw(self, method: str, **params: Any) -> Any:
        """Send a request whose parameters are not validated on the client's side."""
        return await self.agent._conn.send_request(method, params)


@asynccontextmanager
async def connected(
    rlm: Rlm, *flags: str, answers: Sequence[str] = (), code: int = 0, **env: str
) -> AsyncIterator[Connection]:
    """Run `rlm acp FLAGS`, and initialize it. At the end its stdin is closed, and it must exit by itself with `code`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(rlm.command), "acp", *flags, cwd=rlm.cwd, env=rlm.env(**env), limit=_LIMIT,
        stdin=pipe, stdout=pipe, stderr=pipe,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    editor, reader = Editor(list(answers)), asyncio.StreamReader(_LIMIT)
    client: Any = editor  # it implements only the part of the protocol that rlm uses
    connection = Connection(
        ClientSideConnection(client, process.stdin, reader, use_unstable_protocol=True), editor, process
    )
    reading = asyncio.gather(_drain(process.stderr, connection.err), _pass_on(process.stdout, reader, connection.lines))
    try:
        await connection.agent.initialize(protocol_version=1, client_capabilities=ClientCapabilities())
        yield connection
    finally:
        process.stdin.close()
        ended = await process.wait()
        await reading
        await connection.agent.close()
    assert ended == code, connection.err.decode()


async def _drain(stream: asyncio.StreamReader, into: bytearray) -> None:
    while data := await stream.read(65_536):
        into += data


async def _pass_on(stream: asyncio.StreamReader, to: asyncio.StreamReader, lines: list[bytes]) -> None:
    while line := await stream.readline():
        lines.append(line)
        to.feed_data(line)
    to.feed_eof()
