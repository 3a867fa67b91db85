"""A run as the command line shows it: the answer on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from rlm.cli import Interrupted
from rlm.cli.output import OutputFile, ends_with_a_result, open_output, put_record
from rlm.cli.own_process import ending_orphans, harden_process
from rlm.cli.signals import closing_in_order, run_until_signal
from rlm.cli.streams import frame_allowed, put, put_painted, stderr, stderr_is_terminal, stdout_is_terminal
from rlm.config.environment import picture_protocol, program, state_folder, without_effect
from rlm.config.readers import ColorChoice, PictureChoice
from rlm.config.settings import Config, flag, recording_of
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.core.budget import Stop
from rlm.core.task import RunResult
from rlm.errors import AgentError, RlmError
from rlm.host.host import Host
from rlm.host.spec import AgentSpec
from rlm.present.live import Screen, lines, open_screen
from rlm.present.live.writer import WIDEST
from rlm.process import files
from rlm.process.limits import check_limits
from rlm.process.working_tree import WorkingTree
from rlm.sessions import Session
from rlm.sessions.find import sessions_home
from rlm.sessions.metrics import no_result
from rlm.sessions.records import DeltaRecord, Record, RunEndRecord, SessionRecord, WritingRecord
from rlm.sessions.store import session_names


def run(spec: AgentSpec, directory: str | None = None, notes: Sequence[str] = ()) -> int:
    """Run the agent, print its progress and result, return the exit code.

    `directory` is the working directory as `-C` names it, if the user's shell is in another one. `notes` are printed
    below the header.

    Raises:
        RlmError: the run failed; all details have been printed.
    """
    try:
        return _run(spec, directory, notes)
    except Interrupted as interrupted:
        return interrupted.code


def _run(spec: AgentSpec, directory: str | None, notes: Sequence[str]) -> int:
    config = spec.config
    harden_process(debug=config.debug)
    live = frame_allowed(config)
    with closing_in_order(), ExitStack() as stack:
        with ends_with_a_result(config.json):
            check_limits()
            output = stack.enter_context(open_output(config.output))
            stack.enter_context(ending_orphans())
        pictures = picture_protocol() if live and config.pictures is PictureChoice.AUTO else None
        screen = stack.enter_context(
            open_screen(
                stderr(),
                quiet=config.quiet,
                color=config.color,
                live=live,
                verbose=config.verbose,
                pictures=pictures,
            )
        )
        return RunReporter(config, screen, output, directory, notes).run(spec)


class RunReporter:
    """Watches one run, and shows its progress and its end in each requested form."""

    def __init__(
        self,
        config: Config,
        screen: Screen,
        output: OutputFile,
        directory: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._config = config
        self._directory = directory
        self._notes = notes
        self._screen = screen
        self._output = output
        self._session: Session | None = None
        self._tree: WorkingTree | None = None
        self._task: asyncio.Task[Any] | None = None
        self._unread_error: Exception | None = None  # why the JSON lines have no reader any more

    def run(self, spec: AgentSpec) -> int:
        try:
            result = run_until_signal(self._work(spec))
        except Interrupted as interrupted:
            return self._close(interrupted.code)
        except asyncio.CancelledError:
            code = self._close(exit_codes.UNREAD)
            if isinstance(self._unread_error, RlmError):
                raise self._unread_error from None
            return code
        except Exception as error:
            if isinstance(error, AgentError) and error.stop == Stop.TIMEOUT:
                return self._close(exit_codes.of_stop(Stop.TIMEOUT, limit_ok=self._config.limit_ok))
            with suppress(BrokenPipeError, RlmError):  # the user must see the first error
                self._close(exit_codes.of_error(error), str(error))
            raise
        return self._close(exit_codes.of_stop(result.stop, limit_ok=self._config.limit_ok))

    async def _work(self, spec: AgentSpec) -> RunResult:
        config, self._task = self._config, asyncio.current_task()
        self._tree = WorkingTree.find(spec.cwd, program("git"))
        watched = config.deltas if config.json else stderr_is_terminal() and not config.quiet
        async with Host(config) as host:
            run = await host.new_run(spec, watch=self._hear, stream=watched)
            try:
                async with run:
                    return await run.ask(spec.task)
            finally:
                self._session = run.session

    def _hear(self, record: Record) -> None:
        if isinstance(record, SessionRecord):
            self._header(record)
        self._screen.show(record)
        if self._config.json and (self._config.deltas or not isinstance(record, DeltaRecord | WritingRecord)):
            self._put(record)

    def _put(self, record: Record) -> None:
        """Write a record. If stdout has no reader, end the run in order, as a signal does."""
        try:
            put_record(record)
        except (BrokenPipeError, RlmError) as error:
            self._unread_error = error
            if self._task is not None:
                self._task.cancel()

    def _header(self, session: SessionRecord) -> None:
        config = self._config
        row = lines.header(
            model=lines.model_name(config.model),
            cwd=session.cwd,
            tools=config.tools,
            session_id=session.session_id,
            sandbox=lines.sandbox_state(config),
            recorded=config.recording is not None,
        )
        self._screen.say(row)
        for note in (*without_effect(), *session.notes, *self._notes):
            self._screen.note(note)

    def _close(self, code: int, error: str = "") -> int:
        """Report the end of the run in every requested form."""
        end = self._session.result() if self._session else no_result(exit_codes.stop_of(code))
        self._screen.show(end)
        with ExitStack() as rest:  # a failure in one of these must not stop the others
            rest.callback(self._footer, end)
            if end.status == "limit" and end.error:  # shows the provider's message if it was the reason
                rest.callback(self._screen.note, end.error)
            rest.callback(self._print, end.with_exit(code, error))
            if end.answer and end.stop_reason != Stop.DONE:
                rest.callback(self._screen.flush)  # stdout does not wait for the screen
                rest.callback(self._screen.note, "Partial answer:")
            if end.answer:
                self._output.write([f"{end.answer}\n"])
        return code

    def _print(self, end: RunEndRecord) -> None:
        if self._config.json:
            put_record(end)
        elif end.answer:
            put_answer(end.answer, self._config)

    def _footer(self, end: RunEndRecord) -> None:
        session = self._session
        if session is None:
            return
        stop = end.stop_reason or ""
        worked = session.meta.metrics.get("tree_tool_calls")
        if self._tree is not None and worked and not self._config.quiet:
            there, home = Path(session.meta.cwd), session.folder.parent.parent
            if changed := self._tree.changes(there, state_folder(), skip=home):
                self._screen.note(f"changed: {changed}")
        row = lines.footer(
            turns=int(session.meta.metrics.get("tree_turns", session.meta.turns)),
            agents=session.agents,
            usage=session.tree_usage,
            duration=end.duration,
            resume=resume_command(resume_words(session, self._config, self._directory), stop, self._config),
            stop=stop,
        )
        self._screen.say(row)


_RAISED = {
    Stop.MAX_TURNS: "max_turns",
    Stop.TOKEN_BUDGET: "max_tokens",
    Stop.AGENT_BUDGET: "max_agents",
    Stop.TIMEOUT: "timeout",
}
"""For each limit the setting to raise when the run is resumed."""


def resume_command(id: str, stop: str, config: Config) -> str:
    """The command that resumes a session: `rlm resume bb49 --max-turns 60`. Empty if there is no id."""
    name = _RAISED.get(Stop(stop)) if stop else None
    limit = getattr(config, name) if name else None
    more = f" {flag(name)} {2 * limit:g}" if name and limit else ""
    return f"rlm resume {id}{more}" if id else ""


def put_answer(answer: str, config: Config) -> None:
    """
    Raises:
        RlmError, BrokenPipeError: as `put`.
    """
    answer = answer.rstrip("\n")
    if config.plain or not stdout_is_terminal():
        put(answer)
        return
    from rlm.present.markdown import render_markdown

    width = min(shutil.get_terminal_size().columns, WIDEST)
    shown = render_markdown(answer, width, color=config.color is not ColorChoice.NEVER)
    log = stderr_is_terminal() and not config.quiet
    put_painted(f"\n{shown}\n" if log else shown)


# ---- the command that resumes the session


def resume_words(session: Session, config: Config, directory: str | None) -> str:
    """Return the id of the session, and the flags that are needed to find it; empty if the session was removed.

    `directory` is the working directory as `-C` names it, if the shell is in another one.
    """
    id = _prefix(session)
    return " ".join([id, *map(shlex.quote, _flags(session, config, directory))]) if id else ""


def _flags(session: Session, config: Config, directory: str | None) -> Iterator[str]:
    if directory is not None:
        yield from ("-C", directory)
    there, home = files.resolve(directory or _here(session)), session.folder.parent.parent
    # a variable may have been set for this one command only, so both cases are tested
    if any(files.resolve(sessions_home(each, there)) != home for each in (Config(), _without_flags())):
        yield from ("--home", str(home))
    if config.recording is not None and recording_of(_without_flags().model) is None:
        yield from ("--model", _without_flags().model)  # a played recording cannot be resumed


def _here(session: Session) -> Path:
    """The working directory of the user's shell. If a cell has removed it, the session's own."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(session.meta.cwd)


def _without_flags() -> Config:
    """The configuration of a command without flags; the defaults if a variable is invalid.

    An invalid variable may not have been read before.
    """
    try:
        return read_config({})
    except RlmError:
        return Config()


def _prefix(session: Session) -> str:
    """The shortest unique prefix of the session's id, at least four digits; empty if the session was removed."""
    ids = session_names(session.folder.parent)
    if session.id not in ids:
        return ""
    others = [id for id in ids if id != session.id]
    prefixes = (session.id[:length] for length in range(4, len(session.id)))
    return next((own for own in prefixes if not any(id.startswith(own) for id in others)), session.id)
