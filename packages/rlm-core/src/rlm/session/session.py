"""A session: one agent's folder, its journal and its meta.json, with a single owner. It is the agent's sink."""

from __future__ import annotations

import asyncio
import os
import secrets as random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm.budget import Spent, Stop
from rlm.conversation import Conversation
from rlm.errors import SessionError
from rlm.events import Asking, ChildEnded, Event, Stopped
from rlm.messages import Usage
from rlm.session import meta as metas
from rlm.session import resume as resuming
from rlm.session import store
from rlm.session.codec import Clock, Encoder, Record, decode, usage_wire
from rlm.session.folder import enter, open_sessions
from rlm.session.journal import Journal
from rlm.session.meta import Meta, preview
from rlm.session.redact import Redactor
from rlm.session.tally import Subtree, Tally
from rlm.state import State, replay

Watch = Callable[[Record], None]
"""Gets each record as it is made, with `agent`, the path of the agent in the tree."""


@dataclass(frozen=True, slots=True)
class Common:
    """What all sessions of a tree share."""

    redactor: Redactor = field(default_factory=Redactor)
    watch: Watch | None = None
    version: str = ""
    clock: Clock = time.time
    timer: Clock = time.monotonic


class Session:
    """Owns a session folder from `create`, `child` or `resume` until `finish`; use it as a context manager.

    Called with an event it journals it. All records are on disk before a request leaves, and when it is finished.
    """

    def __init__(self, folder: Path, handle: int, meta: Meta, common: Common, *, parent: Session | None = None) -> None:
        """Takes over `handle`, a descriptor of `folder`. For `create`, `child` and `resume` alone."""
        self.folder = folder
        self.agent_path: str = f"{parent.agent_path}/{folder.name}" if parent else "root"
        self.start = State()
        """What the agent starts from: what an earlier run came to."""
        self.notes: tuple[str, ...] = ()
        """What the user should know about how this session was resumed; whole sentences."""
        self._handle = handle
        self._common = common
        self._parent = parent
        self._meta = meta
        self._tally = Tally()
        self._below = Subtree()
        self._encoder = Encoder(common.clock, common.timer)
        self._journal: Journal | None = None

    @classmethod
    def create(
        cls,
        home: Path,
        *,
        model: str,
        cwd: Path,
        prompt: str,
        secrets: Iterable[str] = (),
        watch: Watch | None = None,
        version: str = "",
        clock: Clock = time.time,
        timer: Clock = time.monotonic,
    ) -> Self:
        """Make a session folder in `home`/sessions. A relative `home` is one in `cwd`.

        Raises:
            SessionError: the folder cannot be made or written; says what to do.
        """
        cwd = cwd.absolute()
        home = Path(os.path.normpath(cwd / home))
        common = Common(Redactor(secrets), watch, version, clock, timer)
        sessions = open_sessions(home, cwd)
        try:
            name, handle = _new_folder(sessions, "", 6)
        finally:
            os.close(sessions)
        meta = _first_meta(name, model, str(cwd), prompt, common)
        session = cls(home / "sessions" / name, handle, meta, common)
        session._begin()
        session._tell({"type": "session", "ts": round(clock(), 3)} | session._identity())
        return session

    @classmethod
    def resume(
        cls,
        folder: Path,
        *,
        fork: bool = False,
        model: str | None = None,
        secrets: Iterable[str] = (),
        watch: Watch | None = None,
        version: str = "",
        clock: Clock = time.time,
    ) -> Self:
        """Open a session again, or a copy of it. What was left open is settled; `start` is what to go on from.

        `model` is the one to go on with, where it is another.

        Raises:
            SessionError: another process runs it, or its journal is damaged.
        """
        common = Common(Redactor(secrets), watch, version, clock)
        sessions = open_sessions(folder.parent.parent.absolute(), Path.cwd(), make=False)
        try:
            name = resuming.fork(folder, sessions) if fork else folder.name
            handle = enter(sessions, name)
        except OSError as error:
            raise SessionError(f"Session {folder.name} cannot be opened: {error.strerror}.") from None
        finally:
            os.close(sessions)
        session = cls(folder.parent.absolute() / name, handle, Meta(), common)
        try:
            session._reopen(model, folder.name if fork else "")
        except BaseException:
            session._close()
            raise
        return session

    def _reopen(self, model: str | None, forked_from: str) -> None:
        old = store.meta_of(self.folder)
        try:
            self._journal = Journal(self._handle, new=False)
        except BlockingIOError:
            raise SessionError(
                f"Session {old.session_id} is running in process {old.pid}. Stop it first, or fork it."
            ) from None
        records = self._mend(self._journal)
        pid = os.getpid()
        start, version = metas.process_start(pid), self._common.version
        self._meta = replace(old, pid=pid, pid_start=start, version=version, model=model or old.model)
        self._encoder = Encoder(self._common.clock, records=records)
        for record in records:
            self._tally.add(record)
        cut_off = resuming.open_children(records, self.folder, self.agent_path)
        self._below = resuming.settle_children(self.folder, self.agent_path)
        self._tell({"type": "session", "ts": round(self._common.clock(), 3)} | self._identity())
        self._take(self._encoder.journalled("resume", pid=pid, **({"forked_from": forked_from} if forked_from else {})))
        self._go_on(replay(decode(records)), cut_off)

    def _mend(self, journal: Journal) -> tuple[Record, ...]:
        reading = journal.read()
        if reading.damaged:
            raise SessionError(
                f"Line {reading.damaged[0]} of the journal of session {self.folder.name} is damaged: it can be read "
                "(`rlm show`), not resumed."
            )
        if reading.torn:
            journal.cut(reading.sound)
            self.notes = (f"The last record was half written, and was cut: {reading.torn} bytes.",)
        return reading.records

    def _go_on(self, state: State, cut_off: list[ChildEnded]) -> None:
        """Settle what was left open, as events."""
        conversation = Conversation(self, state)
        conversation.settle()
        for event in cut_off:
            conversation.emit(event)
        if cut_off:
            self.notes = (*self.notes, f"Sub-agents that were cut off: {len(cut_off)}.")
        self.start = conversation.state

    def child(self, prompt: str, *, model: str | None = None, cwd: Path | None = None) -> Session:
        """Make the session of a sub-agent inside this one. Its events and this one's are told apart by `agent`.

        Raises:
            SessionError: the folder cannot be made.
        """
        name, handle = _new_folder(self._handle, "sub-", 4)
        meta = _first_meta(
            name.removeprefix("sub-"), model or self._meta.model, str(cwd or self._meta.cwd), prompt, self._common
        )
        meta = replace(meta, parent=self.id, depth=self._meta.depth + 1)
        child = Session(self.folder / name, handle, meta, self._common, parent=self)
        child._begin()
        return child

    def _begin(self) -> None:
        try:
            os.mkdir("outputs", 0o700, dir_fd=self._handle)
            self._journal = Journal(self._handle)
            self._write_meta()
        except OSError as error:
            self._close()
            raise SessionError(f"The session cannot be written: {error.strerror}.") from None
        except SessionError:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self.finish(*_ending(error))
        except SessionError:
            if error is None:
                raise  # else what went wrong first is what the user must hear

    @property
    def id(self) -> str:
        return self._meta.session_id

    @property
    def outputs(self) -> Path:
        """Where whole outputs and pictures are kept."""
        return self.folder / "outputs"

    @property
    def meta(self) -> Meta:
        """As meta.json says it, up to the newest record."""
        tally = self._tally
        return replace(
            self._meta,
            status=tally.status,
            stop_reason=tally.stop_reason,
            end_time=tally.end_time,
            updated_time=round(self._common.clock(), 3),
            answer_preview=preview(tally.answer),
            turns=tally.turns,
            usage=tally.usage,
            tree_usage=self.tree_usage,
            metrics=tally.metrics(self._below, self._meta.depth),
        )

    @property
    def tree_usage(self) -> Usage:
        """Of this agent and of all below it that have ended, in earlier runs too."""
        return self._tally.usage + self._below.usage

    @property
    def agents(self) -> int:
        """How many agents there are in the tree: this one and all below it that have ended."""
        return 1 + len(self._below.by_agent)

    def __call__(self, event: Event) -> None:
        """Journal an event and tell it to whoever watches.

        Raises:
            SessionError: it could not be written down.
        """
        record = self._encoder.encode(event)
        if record is not None:
            self._take(record)
        if isinstance(event, Asking) and self._journal is not None:
            self._journal.sync()

    def _take(self, record: Record) -> None:
        record = self._common.redactor.value(record)
        if "id" in record:
            self._keep(record)
        if record["type"] != "result" or self._parent:
            self._tell(record)  # the root's last word is `result`, which knows the exit code too

    def _keep(self, record: Record) -> None:
        assert self._journal is not None, "the session is finished"
        self._tally.add(record)  # first: should the disk refuse it, meta.json may still tell how it ended
        self._journal.append(record)
        if "usage" in record or record["type"] == "resume":  # the rest can wait until the next reply
            self._write_meta()

    def _tell(self, record: Record) -> None:
        if self._common.watch is not None:
            self._common.watch(record | {"agent": self.agent_path})

    def _write_meta(self) -> None:
        metas.write(self._handle, self._common.redactor.value(self.meta.wire()))

    def _identity(self) -> Record:
        return {
            "session_id": self.id,
            "session_dir": str(self.folder),
            "model": self._meta.model,
            "cwd": self._meta.cwd,
            "version": self._meta.version,
        }

    def result(self) -> Record:
        """The last line of `--json`, but for the exit code."""
        tally = self._tally
        by_agent = {self.agent_path: tally.usage} | self._below.by_agent
        return {
            "type": "result",
            "ts": round(self._common.clock(), 3),
            "status": tally.status,
            "stop_reason": tally.stop_reason,
            "answer": tally.answer,
            "usage": usage_wire(self.tree_usage),
            "usage_by_agent": {agent: usage_wire(usage) for agent, usage in by_agent.items()},
            "turns": tally.turns,
            "agents": self.agents,
            "duration": tally.duration,
            "session_id": self.id,
            "session_dir": str(self.folder),
            "agent": self.agent_path,
        }

    def finish(self, stop: Stop = Stop.CANCELLED, error: str = "") -> None:
        """Settle meta.json and let go of the folder. `stop` counts only if no run has said how it ended.

        Raises:
            SessionError: it could not be written; the folder is let go of all the same.
        """
        if self._journal is None:
            return
        try:
            self._settle(stop, error)
            self._journal.sync()
        finally:
            self._close()

    def _settle(self, stop: Stop, error: str) -> None:
        tally = self._tally
        try:
            if tally.status == metas.RUNNING:
                self(Stopped(stop, tally.answer, Spent(tally.turns, tally.usage), error))
        finally:
            if self._parent:
                self._parent._below.take(self._subtree())
            self._write_meta()

    def _subtree(self) -> Subtree:
        tree = Subtree(self._tally.usage, self._tally.counts.copy(), self._meta.depth)
        tree.by_agent[self.agent_path] = self._tally.usage
        tree.take(self._below)
        return tree

    def _close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _new_folder(parent: int, prefix: str, length: int) -> tuple[str, int]:
    """A folder with a random name of `length` bytes in hex, that nobody else has made; and a descriptor of it."""
    while True:
        name = prefix + random.token_hex(length)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            continue
        except OSError as error:
            raise SessionError(
                f"No session can be made: {error.strerror}. Set RLM_HOME to a folder that you can write to."
            ) from None
        return name, enter(parent, name)


def _first_meta(id: str, model: str, cwd: str, prompt: str, common: Common) -> Meta:
    return Meta(
        session_id=id,
        model=model,
        cwd=cwd,
        version=common.version,
        pid=os.getpid(),
        pid_start=metas.process_start(os.getpid()),
        start_time=round(common.clock(), 3),
        prompt_preview=preview(common.redactor.text(prompt)),
    )


def _ending(error: BaseException | None) -> tuple[Stop, str]:
    """What a run that said nothing itself came to."""
    if error is None or isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit)):
        return Stop.CANCELLED, ""
    return Stop.ERROR, str(error) or type(error).__name__
