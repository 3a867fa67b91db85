"""Finished work is not paid twice: in a resumed run, a call that was made before gets its recorded result.

`sessions/earlier_calls.py` finds the recorded calls; this module turns them into results. A call that did not finish
runs again, and those of its sub-agents that finished get their recorded results.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from rlm.broker.protocol import AnswerFile, LlmRequest, RunRequest
from rlm.core.budget import Stop
from rlm.core.events import CallKey, Effects, KeptValue, Replayed
from rlm.core.messages import Reply
from rlm.core.ports import Sink
from rlm.core.task import RunResult
from rlm.errors import SessionError
from rlm.process import files
from rlm.sessions import journal
from rlm.sessions.earlier_calls import EarlierCall, EarlierCalls
from rlm.sessions.records import AgentEndRecord, ResultRecord
from rlm.sessions.store import CHILD
from rlm.text.clip import one_line

ANSWER = "answer.pickle"
"""The pickle in the session folder of a sub-agent whose value is no text."""
PATCH = "changes.patch"
"""The patch in the session folder of a sub-agent that changed files in a worktree."""
_LARGEST = 1 << 30  # the most bytes of a kept pickle or patch
_NAMED = 5  # sub-agents that a note names
_TASK = 60  # characters of a task in a note


def run_digest(request: RunRequest) -> str:
    """Return a digest of all arguments of a call of `rlm.run`."""
    context = [request.context.kind, request.context.digest] if request.context else None
    return _digest("run", request.task, sorted(request.options.items()), request.schema, context)


def llm_digest(request: LlmRequest) -> str:
    """Return a digest of all arguments of a call of `rlm.llm`."""
    return _digest("llm", request.prompt, request.model, request.system, request.schema, request.images)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


CallsAgain = Callable[[EarlierCalls, str], Sequence[int]]
"""Returns the positions of the recorded calls with this digest that the cells make again."""


class RecordedResults:
    """The recorded results for the calls of one agent's cells."""

    def __init__(self, session_root: Path, sandbox: str, sink: Sink, *, rerun: bool = False) -> None:
        """`session_root` is the folder of the tree's root. `rerun`: calls are identified, but run all the same."""
        self._root = session_root
        self.sandbox = sandbox
        self._sink = sink
        self._rerun = rerun
        self._earlier = EarlierCalls()
        self._again: CallsAgain = EarlierCalls.left_open
        self._counts: Counter[str] = Counter()
        self._replayed: list[Replayed] = []

    def match(self, agents: Sequence[str], again: CallsAgain) -> None:
        """Match new calls with those of these agents: the agent itself, or earlier attempts at its task."""
        self._again = again
        self._earlier, self._counts = EarlierCalls(), Counter()
        for agent in agents:
            with suppress(SessionError):  # an agent whose session is gone has no results
                self._earlier.add(agent, journal.reader(self._folder(agent)))

    def next_key(self, digest: str) -> CallKey:
        """Return the key of this call: its digest, and its position among equal calls."""
        number = self._counts[digest]
        self._counts[digest] += 1
        again = self._again(self._earlier, digest)
        if number < len(again):
            return CallKey(digest, again[number])
        return CallKey(digest, self._earlier.positions(digest) + number - len(again))

    def attempts(self, key: CallKey) -> tuple[str, ...]:
        """Return the earlier sub-agents that did not finish with this call."""
        call = self._find(key)
        return tuple(call.unfinished) if call else ()

    def replies(self, key: CallKey) -> list[Reply]:
        """Return the replies to the requests of a model call, in order."""
        from rlm.sessions.decoder import decode_model_call

        call = self._find(key)
        return [decode_model_call(record).reply for record in call.replies] if call else []

    async def result(self, key: CallKey, folder: Path) -> RunResult | None:
        """Return the result of a sub-agent that finished with this call, or None. A pickle goes into `folder`."""
        call = self._find(key)
        if call is None or call.finished is None:
            return None
        agent, end = call.finished
        try:
            result = await asyncio.to_thread(self._read, agent, end, folder)
        except (SessionError, OSError, ValueError):
            return None
        self.record(Replayed(key, agent, call.task, Effects(end.changed, end.commands)))
        return result

    def _find(self, key: CallKey) -> EarlierCall | None:
        return None if self._rerun else self._earlier.find(key)

    def record(self, replayed: Replayed) -> None:
        """Journal that a result was given, for `note` too."""
        self._sink(replayed)
        self._replayed.append(replayed)

    def _folder(self, agent: str) -> Path:
        """Return the session folder of an agent.

        Raises:
            SessionError: no agent can have this path. Journals are not trusted.
        """
        names = agent.split("/")[1:]
        if not all(map(CHILD.fullmatch, names)):
            raise SessionError(f"{agent} is not an agent")
        return self._root.joinpath(*names)

    def _read(self, agent: str, end: AgentEndRecord, folder: Path) -> RunResult:
        """Read the recorded result of an agent.

        Raises:
            SessionError, OSError, ValueError: it cannot be given.
        """
        where = self._folder(agent)
        *_, last = [None, *journal.records_of(where, ResultRecord)]
        if last is None or last.stop_reason != Stop.DONE:
            raise SessionError(f"{agent} has no answer")
        answer, patch = last.answer, _patch(where / PATCH, end.patch)
        value: Any = None
        match end.value:
            case "text":
                value = answer
            case "json":
                value = json.loads(answer)
            case "pickle":
                value = self._pickle(where / ANSWER, end, folder)
        return RunResult(answer, Stop.DONE, end.usage.usage, end.turns, where, value=value, replayed=True, patch=patch)

    def _pickle(self, kept: Path, end: AgentEndRecord, folder: Path) -> AnswerFile:
        """Copy a recorded pickle. Loading it runs code from a kernel, so its digest must match.

        A pickle from a sandbox is not given to a kernel without one.
        """
        if end.sandbox != "off" and self.sandbox == "off":
            raise SessionError(f"{kept} was created in a sandbox")
        path = folder / f"answer-{token_hex(8)}"
        if files.copy_hashed(kept, path, _LARGEST) != end.sha256:
            files.remove(path)
            raise SessionError(f"{kept} is not the one that was recorded")
        return AnswerFile(path.name, "pickle")

    def note(self) -> str:
        """Return a note for the model about the results since the last note; empty if there were none."""
        if not self._replayed:
            return ""
        noted, self._replayed = self._replayed, []
        agents = [replayed for replayed in noted if replayed.agent]
        calls = len(noted) - len(agents)
        counted = [f"sub-agents: {len(agents)}"] * bool(agents) + [f"model calls: {calls}"] * bool(calls)
        said = [
            f"Replayed, not run: an earlier run made the same calls and recorded the results ({', '.join(counted)})."
        ]
        changed = [_not_repeated(replayed) for replayed in agents if replayed.effects != Effects()]
        said += changed[:_NAMED]
        said += [f"So did {len(changed) - _NAMED} more."] * (len(changed) > _NAMED)
        said += ["A call with another task runs normally."]
        return f"[{' '.join(said)}]"


def _not_repeated(replayed: Replayed) -> str:
    files, task = replayed.effects.files, one_line(replayed.prompt, _TASK)
    named = ", ".join(files[:_NAMED]) + (" and more" if len(files) > _NAMED else "")
    did = [f"changed {named}"] * bool(named) + ["ran commands"] * replayed.effects.commands
    return f"Without its effects: the sub-agent {task!r} {' and '.join(did)} then, which was not done again."


def keep_value(result: RunResult, folder: Path, sandbox: str) -> KeptValue:
    """Return the kind of a sub-agent's value, after copying its pickle and its patch to its session folder.

    If the copy fails, the value has no digest, and the sub-agent would run again.
    """
    digest = ""
    try:
        if result.patch:
            data = result.patch.encode("utf-8", "surrogateescape")
            files.replace(folder / PATCH, data)
            digest = hashlib.sha256(data).hexdigest()
        match result.value:
            case Path() as pickle:
                copied = files.copy_hashed(pickle, folder / ANSWER, _LARGEST)
                return KeptValue("pickle", copied, sandbox, patch=digest)
            case str():
                return KeptValue("text", patch=digest)
            case None:
                return KeptValue(patch=digest)
            case _:
                return KeptValue("json", patch=digest)
    except OSError:
        return KeptValue("pickle")


def _patch(kept: Path, digest: str) -> str:
    """Read a kept patch and check its digest.

    Raises:
        SessionError, OSError: it cannot be given.
    """
    if not digest:
        return ""
    data = files.read(kept, limit=_LARGEST)
    if hashlib.sha256(data).hexdigest() != digest:
        raise SessionError(f"{kept} is not the one that was recorded")
    return data.decode("utf-8", "surrogateescape")
