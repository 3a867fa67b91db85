"""A recorded model: it says again what a session or a file of turns holds."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rlm.config.readers import RECORDED
from rlm.core.adaptation import Adaptation
from rlm.core.messages import CHAT, Message, Reply, Schema, Wire, assistant
from rlm.core.ports import ToolChoice
from rlm.errors import ConfigError, ModelError
from rlm.process import files
from rlm.providers.errors import TransportError
from rlm.providers.normalize import message, usage

JOURNAL = "messages.jsonl"

Turns = deque[Reply]


class Recording:
    """The turns of each agent, found by its task, for agents run concurrently. Equal tasks are used in order.

    Two forms are read:

    * a file of turns, an object a line: `task`, `message`, and if wanted `usage`, `finish_reason`, and `agent` to tell
      agents of the same task apart;
    * a session: its folder, or the `messages.jsonl` in it. Sub-agents lie in folders below.
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
        """
        Raises:
            ConfigError: with file and line.
        """
        path = _resolved(path)
        path = path / JOURNAL if path.is_dir() else path
        agents = list(_session(path.parent) if path.name == JOURNAL else _file(path))
        if not agents:
            raise ConfigError(f"{path} holds no turns to replay.")
        return cls(path.parent.name if path.name == JOURNAL else path.name, agents)

    def model(self, task: str) -> ReplayModel:
        return ReplayModel(self, task)

    def take(self, task: str) -> Turns:
        """The turns of the next agent with this task. The first to ask is the root, whatever its task is.

        Raises:
            ModelError: there are none.
        """
        root, self._root = self._root, None
        for known in (task, root):
            if known is not None and self._agents.get(known):
                return self._agents[known].popleft()
        raise ModelError(f"The recording {self.name} holds no agent with the task {task[:80]!r}.")


class ReplayModel:
    """One agent of a recording."""

    def __init__(self, recording: Recording, task: str) -> None:
        self._recording = recording
        self._task = task
        self._turns: Turns | None = None

    @property
    def name(self) -> str:
        return f"{RECORDED}{self._recording.name}"

    @property
    def api(self) -> str:
        return CHAT

    @property
    def params(self) -> Wire:
        return {}

    @property
    def adaptations(self) -> frozenset[Adaptation]:
        return frozenset()

    async def complete(
        self,
        messages: Sequence[Message],  # noqa: ARG002 - a recording says the same whatever it is asked
        tools: Sequence[Schema],  # noqa: ARG002
        tool_choice: ToolChoice = "auto",  # noqa: ARG002
    ) -> Reply:
        """The next recorded reply, whatever is asked.

        Raises:
            ModelError: there is none.
        """
        if self._turns is None:
            self._turns = self._recording.take(self._task)
        if not self._turns:
            raise ModelError(
                f"The recording {self._recording.name} has no more turns for the task {self._task[:80]!r}."
            )
        return self._turns.popleft()


def _resolved(path: Path) -> Path:
    """Where the path led when it was first asked for."""
    try:
        return files.resolve(path)
    except OSError as error:
        raise ConfigError(f"The recording {path} cannot be read: it {error.strerror}.") from None


def _file(path: Path) -> Iterator[tuple[str, Turns]]:
    agents: dict[tuple[str, str], Turns] = defaultdict(deque)
    for where, record in _records(path):
        task = record.get("task")
        if not isinstance(task, str):
            raise ConfigError(f'{where}: "task" is missing, or no text.')
        agents[task, str(record.get("agent", ""))].append(_reply(record, where))
    for (task, _), turns in agents.items():
        yield task, turns


def _session(folder: Path) -> Iterator[tuple[str, Turns]]:
    """This agent and then those below it, in the order they were started."""
    records = list(_records(folder / JOURNAL, torn=True))
    said = [(where, record, record["message"]) for where, record in records if _is_message(record)]
    tasks = [_text(wire.get("content")) for _, _, wire in said if wire.get("role") == "user"]
    turns = deque(_reply(record, where) for where, record, wire in said if wire.get("role") == "assistant")
    if turns:
        yield "".join(tasks[:1]), turns
    for _, record in records:
        child = str(record.get("folder"))
        if record.get("type") == "agent_start" and Path(child).name == child and (folder / child / JOURNAL).is_file():
            yield from _session(folder / child)


def _is_message(record: dict[str, Any]) -> bool:
    return record.get("type") == "message" and isinstance(record.get("message"), dict)


def _records(path: Path, *, torn: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place and object. A torn last line is tolerated where a killed run may have left one."""
    try:
        lines = files.read(path).splitlines(keepends=True)
    except OSError as error:
        raise ConfigError(f"The recording {path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line) if line.strip() else None
        except ValueError as error:
            if torn and not line.endswith(b"\n"):
                return
            raise ConfigError(f"{where}: not JSON ({error}).") from None
        if record is not None and not isinstance(record, dict):
            raise ConfigError(f"{where}: not a JSON object.")
        if record is not None:
            yield where, record


def _reply(record: dict[str, Any], where: str) -> Reply:
    wire = record.get("message")
    if not isinstance(wire, dict):
        raise ConfigError(f'{where}: "message" is missing, or no object.')
    try:
        received, written = message(wire)
    except TransportError as fault:
        raise ConfigError(f"{where}: {fault.reason}.") from None
    finish = record.get("finish_reason") or ("tool_calls" if "tool_calls" in received else "stop")
    return Reply(
        assistant(received, record.get("written") or written, record.get("items") or ()),
        usage(record.get("usage"), lambda: 0, received),
        str(finish),
    )


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
