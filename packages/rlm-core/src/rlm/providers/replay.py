"""A model that replays a recording: a session, or a file of turns."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rlm.config.readers import RECORDED
from rlm.core.adaptation import Adaptation
from rlm.core.messages import CHAT, Message, Reply, Schema, Wire, assistant
from rlm.core.ports import ToolChoice
from rlm.errors import ConfigError, ModelError, SessionError
from rlm.process import files
from rlm.providers.errors import TransportError
from rlm.providers.normalize import message, usage
from rlm.sessions import journal
from rlm.sessions.records import AgentStartRecord, MessageRecord, wire

Turns = deque[Reply]


class Recording:
    """The turns of each agent.

    An agent is found by its task, so agents may run concurrently. Agents with equal tasks are used in order.

    Two forms are read:

    * a file of turns, one object per line: `task`, `message`, and optionally `usage`, `finish_reason`, and `agent` to
      distinguish agents with the same task;
    * a session: its folder, or the `messages.jsonl` in it. Sub-agents are in folders below.
    """

    def __init__(self, name: str, agents: Iterable[tuple[str, Turns]]) -> None:
        self.name = name
        self._agents: dict[str, deque[Turns]] = defaultdict(deque)
        self._root: str | None = None
        for task, turns in agents:
            self._root = task if self._root is None else self._root
            self._agents[task].append(turns)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording.

        Raises:
            ConfigError: it cannot be read. The error names file and line.
        """
        path = _resolved(path)
        path = path / journal.NAME if path.is_dir() else path
        agents = list(_agents_in_session(path.parent) if path.name == journal.NAME else _agents_in_file(path))
        if not agents:
            raise ConfigError(f"{path} contains no turns to replay.")
        return cls(path.parent.name if path.name == journal.NAME else path.name, agents)

    def model(self, task: str) -> ReplayModel:
        return ReplayModel(self, task)

    def take(self, task: str) -> Turns:
        """Take the turns of the next agent with this task. The first caller is the root, with any task.

        Raises:
            ModelError: the recording has no such agent.
        """
        root, self._root = self._root, None
        for known in (task, root):
            if known is not None and self._agents.get(known):
                return self._agents[known].popleft()
        raise ModelError(f"The recording {self.name} contains no agent with the task {task[:80]!r}.")


class ReplayModel:
    """The model of one agent of a recording."""

    api = CHAT
    adaptations: frozenset[Adaptation] = frozenset()

    def __init__(self, recording: Recording, task: str) -> None:
        self.name = f"{RECORDED}{recording.name}"
        self.params: Wire = {}
        self._recording = recording
        self._task = task
        self._turns: Turns | None = None

    async def complete(
        self,
        messages: Sequence[Message],  # noqa: ARG002 - a recording ignores the messages
        tools: Sequence[Schema],  # noqa: ARG002
        tool_choice: ToolChoice = "auto",  # noqa: ARG002
    ) -> Reply:
        """Return the next recorded reply, for any messages.

        Raises:
            ModelError: there is no further reply.
        """
        if self._turns is None:
            self._turns = self._recording.take(self._task)
        if not self._turns:
            raise ModelError(
                f"The recording {self._recording.name} has no more turns for the task {self._task[:80]!r}."
            )
        return self._turns.popleft()


def _resolved(path: Path) -> Path:
    """Resolve the links in the path."""
    try:
        return files.resolve(path)
    except OSError as error:
        raise ConfigError(f"The recording {path} cannot be read: it {error.strerror}.") from None


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """The data of a turn in a recording, before validation."""

    task: object = None
    message: object = None
    agent: object = ""
    usage: object = None
    finish_reason: object = None
    written: dict[str, Wire] = field(default_factory=dict)
    items: tuple[Wire, ...] = ()


def _agents_in_file(path: Path) -> Iterator[tuple[str, Turns]]:
    agents: dict[tuple[str, str], Turns] = defaultdict(deque)
    for where, turn in _turns(path):
        if not isinstance(turn.task, str):
            raise ConfigError(f'{where}: "task" is missing or not a text.')
        agents[turn.task, str(turn.agent)].append(_reply(turn, where))
    for (task, _), turns in agents.items():
        yield task, turns


def _turns(path: Path) -> Iterator[tuple[str, RecordedTurn]]:
    """Yield each line's position and its turn."""
    names = {each.name for each in fields(RecordedTurn)}
    try:
        lines = files.read(path).splitlines()
    except OSError as error:
        raise ConfigError(f"The recording {path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            values = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise ConfigError(f"{where}: not JSON ({error}).") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{where}: not a JSON object.")
        if line.strip():
            known = {name: each for name, each in values.items() if name in names and each is not None}
            yield where, RecordedTurn(**known)


def _agents_in_session(folder: Path) -> Iterator[tuple[str, Turns]]:
    """Yield this agent and then its sub-agents, in the order of their start. An incomplete last line is ignored."""
    try:
        reading = journal.read(folder)
    except SessionError as error:
        raise ConfigError(f"The recording cannot be read. {error}") from None
    if reading.damaged:
        raise ConfigError(f"{folder / journal.NAME}, line {reading.damaged[0]}: not a record of a session.")
    said = [record for record in reading.records if isinstance(record, MessageRecord)]
    tasks = [_text(record.message["content"]) for record in said if record.role == "user"]
    turns = deque(
        _reply(_turn(record), f"{folder}, record {record.id}") for record in said if record.role == "assistant"
    )
    if turns:
        yield "".join(tasks[:1]), turns
    for record in reading.records:
        child = record.folder if isinstance(record, AgentStartRecord) else ""
        if child and Path(child).name == child and (folder / child / journal.NAME).is_file():
            yield from _agents_in_session(folder / child)


def _turn(record: MessageRecord) -> RecordedTurn:
    return RecordedTurn(
        message=record.message,
        usage=wire(record.usage) if record.usage else None,
        finish_reason=record.finish_reason,
        written=record.written,
        items=record.items,
    )


def _reply(turn: RecordedTurn, where: str) -> Reply:
    if not isinstance(turn.message, dict):
        raise ConfigError(f'{where}: "message" is missing or not an object.')
    try:
        received, repaired = message(turn.message)
    except TransportError as fault:
        raise ConfigError(f"{where}: {fault.reason}.") from None
    finish = turn.finish_reason or ("tool_calls" if "tool_calls" in received else "stop")
    sent = assistant(received, turn.written or repaired, turn.items)
    return Reply(sent, usage(turn.usage, lambda: 0, received), str(finish))


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
