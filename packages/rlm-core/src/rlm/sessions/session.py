"""A session: one agent's folder, its journal and its meta.json, with a single owner. It records the agent's events."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from rlm.core.budget import Spent, Stop
from rlm.core.conversation import Conversation
from rlm.core.events import Event, RequestStarted, Said, Stopped
from rlm.core.messages import Usage
from rlm.core.state import ConversationState
from rlm.errors import ConfigError, SessionError
from rlm.process import files
from rlm.sessions import meta as metas
from rlm.sessions import store
from rlm.sessions.common import Changes, SharedSettings, Watch
from rlm.sessions.encoder import Clock, RecordEncoder, steady_clock
from rlm.sessions.folder import cannot_be_made, enter, new_folder, open_sessions
from rlm.sessions.journal import Journal
from rlm.sessions.meta import Meta, preview
from rlm.sessions.metrics import SessionMetrics, SubtreeMetrics, run_end
from rlm.sessions.ownership import foreign_message, why_foreign
from rlm.sessions.records import (
    Journalled,
    ModelCallRecord,
    Record,
    ResultRecord,
    ResumeRecord,
    RunEndRecord,
    SessionRecord,
)
from rlm.sessions.redact import redact_files
from rlm.sessions.signature import Signer
from rlm.sessions.signing_key import SigningKey
from rlm.text.redact import Redactor

if TYPE_CHECKING:
    from rlm.sessions.recovery import RecoveredSession


class Session:
    """Owns a session folder from `create`, `child` or `resume` until `finish`; use it as a context manager.

    `record` journals an event. All records are on disk before a request is sent, and at `finish`.
    """

    def __init__(
        self, folder: Path, handle: int, meta: Meta, shared: SharedSettings, *, parent: Session | None = None
    ) -> None:
        """Take over `handle`, a descriptor of `folder`. Only `create`, `child` and `resume` call this."""
        self.folder = folder
        self.agent_path: str = f"{parent.agent_path}/{folder.name}" if parent else "root"
        self.start = ConversationState()
        """The state with which the agent starts: the final state of earlier runs."""
        self.notes: tuple[str, ...] = ()
        """Notes for the user about how this session was resumed; whole sentences."""
        self._handle = handle
        self._shared = shared
        self._parent = parent
        self._meta = meta
        self._signer: Signer | None = shared.signer(folder.name, parent._signer if parent else None)
        self._metrics = SessionMetrics()
        self._below = SubtreeMetrics()
        self._encoder = RecordEncoder(shared.clock, shared.timer)
        self._journal: Journal | None = None
        self._before: Stopped | None = None
        """The end of the previous run. If this run adds no message, this end is recorded again."""

    @classmethod
    def create(
        cls,
        home: Path,
        *,
        model: str,
        cwd: Path,
        prompt: str,
        redactor: Redactor | None = None,
        watch: Watch | None = None,
        version: str = "",
        clock: Clock | None = None,
        timer: Clock = time.monotonic,
        settings: Mapping[str, str] | None = None,
        key: SigningKey | None = None,
        runtime: Path | None = None,
    ) -> Self:
        """Create a session folder in `home`/sessions. A relative `home` is relative to `cwd`.

        `settings` are recorded for runs that resume it. Its files are signed with `key`.

        Raises:
            SessionError: the folder cannot be created or written; the message says what to do.
        """
        cwd = cwd.absolute()
        home = Path(os.path.normpath(cwd / home))
        shared = SharedSettings(
            redactor or Redactor(), watch, version, clock or steady_clock(), timer, key, str(runtime or "")
        )
        sessions = open_sessions(home, cwd)
        try:
            name, handle = new_folder(sessions, "", 6)
            meta = Meta(name, model=model, cwd=str(cwd), settings=dict(settings or {}))
            meta = shared.begun(meta, prompt)
            session = cls(files.resolve(home) / "sessions" / name, handle, meta, shared)
            session._create_files(sessions)
        finally:
            os.close(sessions)
        session._announce()
        return session

    @classmethod
    def resume(
        cls,
        folder: Path,
        *,
        fork: bool = False,
        trust: bool = False,
        changes: Changes | None = None,
        redactor: Redactor | None = None,
        watch: Watch | None = None,
        version: str = "",
        clock: Clock | None = None,
        key: SigningKey | None = None,
        runtime: Path | None = None,
    ) -> Self:
        """Open a session again, or a copy of it. Open calls are settled; the agent starts with the state `start`.

        With `trust` it becomes the user's own session, regardless of who created it.

        Raises:
            ConfigError: this user has not created it, judged by `key`.
            SessionError: another process runs it, or its journal is damaged. Nothing has been changed then.
        """
        from rlm.sessions.recovery import fork as copy

        shared = SharedSettings(
            redactor or Redactor(), watch, version, clock or steady_clock(), key=key, runtime=str(runtime or "")
        )
        sessions = open_sessions(folder.parent.parent.absolute(), Path.cwd(), make=False)
        try:
            name = copy(folder, sessions) if fork else folder.name
            session = cls(files.resolve(folder.parent) / name, enter(sessions, name), Meta(), shared)
            try:
                session._reopen(folder.name, changes or Changes(), trust=trust)
            except BaseException:
                session._close()
                if fork:
                    shutil.rmtree(name, ignore_errors=True, dir_fd=sessions)
                raise
        except OSError as error:
            raise SessionError(f"Session {folder.name} cannot be opened: {error.strerror}.") from None
        finally:
            os.close(sessions)
        return session

    def _reopen(self, origin: str, changes: Changes, *, trust: bool) -> None:
        """Open the session. `origin` is its name; this may be a copy of it."""
        from rlm.sessions.recovery import adopt, recover

        old = store.meta_of(self.folder)
        try:
            self._journal = Journal(self._handle, new=False)
        except BlockingIOError:
            raise SessionError(
                f"Session {old.session_id} is running in process {old.pid}. Stop it first, or fork it."
            ) from None
        if not trust and (why := why_foreign(self.folder, self._shared.key, origin)):
            raise ConfigError(foreign_message(origin, why))
        recovered = recover(self.folder, self._journal, self.agent_path, self._signer)
        if trust or origin != self.folder.name:
            adopt(self.folder, self.folder.name, self._signer)
        self._encoder = RecordEncoder(self._shared.clock, self._shared.timer, recovered.records)
        self._metrics, self._below = recovered.metrics, recovered.below
        before = self._metrics.end
        self.notes = (*changes.notes, *recovered.notes)
        self._begin_run(changes.applied(old), origin)
        self._close_open_calls(recovered)
        self._before = before

    def _begin_run(self, meta: Meta, origin: str) -> None:
        """Write meta.json first, because it signs the journal as it is. Then write the first record of the new run."""
        assert self._journal is not None, "it has just been opened"
        meta = replace(
            meta, session_id=self.folder.name, parent=None, parent_call="", depth=0, version=self._shared.version
        )
        self._meta = meta.begin_run()
        self._sign(self._journal)
        self._write_meta()
        self._announce()
        self._write(self._encoder.resumed(self._meta.pid, origin if origin != self.folder.name else ""))

    def _sign(self, journal: Journal) -> None:
        if self._signer is not None:
            journal.sign(self._signer, self._meta.run)

    def _close_open_calls(self, recovered: RecoveredSession) -> None:
        """Close open calls and sub-agents, as events."""
        conversation = Conversation(self.record, recovered.state)
        conversation.settle()
        for event in recovered.cut_off:
            conversation.emit(event)
        self.start = conversation.state

    def child(self, prompt: str, *, model: str | None = None, cwd: Path | None = None) -> Session:
        """Create the session of a sub-agent inside this one.

        Raises:
            SessionError: the folder cannot be created.
        """
        name, handle = new_folder(self._handle, "sub-", 4)
        meta = Meta(
            name.removeprefix("sub-"),
            parent=self.id,
            parent_call=self._encoder.running_call,
            depth=self._meta.depth + 1,
            model=model or self._meta.model,
            cwd=str(cwd or self._meta.cwd),
        )
        child = Session(self.folder / name, handle, self._shared.begun(meta, prompt), self._shared, parent=self)
        child._create_files(self._handle)
        return child

    def _create_files(self, above: int) -> None:
        """Create the files. If that fails, remove the folder from `above`, its parent folder."""
        try:
            os.mkdir("outputs", 0o700, dir_fd=self._handle)
            self._journal = Journal(self._handle)
            self._sign(self._journal)
            self._write_meta()
        except (OSError, SessionError) as error:
            self._close()
            shutil.rmtree(self.folder.name, ignore_errors=True, dir_fd=above)
            reason = error if isinstance(error, OSError) else error.__cause__
            raise cannot_be_made(reason) if isinstance(reason, OSError) else error from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        cancelled = error is None or isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit))
        try:
            if cancelled:
                self.finish(Stop.CANCELLED)
            else:
                self.finish(Stop.ERROR, str(error) or type(error).__name__)
        except SessionError:
            if error is None:
                raise  # otherwise the user must see `error`

    def name_after(self, task: str) -> None:
        """Set the first task, which lists show, unless the session was created with one."""
        if not self._meta.prompt_preview:
            self._meta = replace(self._meta, prompt_preview=preview(self._shared.redactor.text(task)))

    @property
    def id(self) -> str:
        return self._meta.session_id

    @property
    def tree_id(self) -> str:
        """The id of the root's session."""
        return self._parent.tree_id if self._parent else self.id

    @property
    def root(self) -> Path:
        """The folder of the tree's root."""
        return self._parent.root if self._parent else self.folder

    @property
    def outputs(self) -> Path:
        """The folder for whole outputs and pictures."""
        return self.folder / "outputs"

    @property
    def meta(self) -> Meta:
        """The content of meta.json, up to the newest record."""
        return self._metrics.updated(replace(self._meta, updated_time=self._encoder.now()), self._below)

    @property
    def tree_usage(self) -> Usage:
        """The usage of this agent and of all agents below it that have ended, in earlier runs too."""
        return self._metrics.usage + self._below.usage

    @property
    def agents(self) -> int:
        """The number of agents in the tree: this one and all agents below it that have ended."""
        return 1 + len(self._below.by_agent)

    def change(self, changes: Changes) -> None:
        """Record changed settings for runs that resume the session."""
        self._meta = changes.applied(self._meta)
        self._write_meta()

    def record(self, event: Event) -> None:
        """Journal an event and pass it on to the observer.

        Raises:
            SessionError: it could not be written.
        """
        if isinstance(event, Said):
            self._before = None
        record = self._encoder.encode(event)
        if record is not None:
            self._write(record)
        if isinstance(event, RequestStarted) and self._journal is not None:
            self._journal.sync()  # so that a power failure loses nothing that a request was based on

    def _write(self, record: Record) -> None:
        """Journal a record, unless it is only for the observer, and pass it on to the observer."""
        record = record.redacted(self._shared.redactor)
        if isinstance(record, Journalled):
            assert self._journal is not None, "the session is finished"
            self._metrics.add(record)  # first: if the disk fails, meta.json may still record the end
            self._journal.append(record)
            # a run, a reply and an end update meta.json; calls of `rlm.llm` do not, because a cell may make thousands
            has_usage = getattr(record, "usage", None) is not None and not isinstance(record, ModelCallRecord)
            if has_usage or isinstance(record, ResumeRecord):
                self._write_meta()
        # not the last record of the root: `result` replaces it, with the numbers of the whole tree and the exit code
        if self._shared.watch is not None and (self._parent or not isinstance(record, ResultRecord)):
            self._shared.watch(replace(record, agent=self.agent_path))

    def _write_meta(self) -> None:
        if (journal := self._journal) is not None:
            synced, digest = journal.synced_size, journal.synced_digest
            self._meta = replace(self._meta, journal_bytes=synced, journal_sha256=digest)
        metas.write(self._handle, self._shared.redactor.value(self.meta.wire()), self._signer)

    def _announce(self) -> None:
        """Pass the first record of `--json` to the observer."""
        if self._shared.watch is not None:
            meta, where = self._meta, str(self.folder)
            now, turns = self._encoder.now(), self._metrics.turns
            record = SessionRecord(now, self.id, where, meta.model, meta.cwd, meta.version, self.notes, turns)
            self._shared.watch(replace(record, agent=self.agent_path))

    def result(self) -> RunEndRecord:
        """Return the last line of `--json`, without the exit code."""
        now, folder = self._encoder.now(), str(self.folder)
        return run_end(self._metrics, self._tree(), now, session_id=self.id, session_dir=folder)

    def _tree(self) -> SubtreeMetrics:
        return self._metrics.subtree(self.agent_path, self._meta.depth, self._below)

    def finish(self, stop: Stop = Stop.CANCELLED, error: str = "") -> None:
        """Write the final meta.json and close the folder. `stop` counts only if no run has recorded its end.

        Raises:
            SessionError: it could not be written; the folder is closed all the same.
        """
        if self._journal is None:
            return
        try:
            self._write_end(self._journal, stop, error)
        finally:
            self._close()

    def _write_end(self, journal: Journal, stop: Stop, error: str) -> None:
        metrics = self._metrics
        try:
            if metrics.status == metas.RUNNING:
                end = Stopped(stop, metrics.answer, Spent(metrics.turns, metrics.usage), error)
                self.record(self._before if self._before and stop is Stop.CANCELLED else end)
            journal.sync()  # before meta.json, which has the synced size
        finally:
            redact_files(self._shared.redactor, self.outputs)  # kernels and commands wrote there without redaction
            if self._parent:
                self._parent._below.add(self._tree())
            self._write_meta()

    def _close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
