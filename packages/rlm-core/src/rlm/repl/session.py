"""A conversation at the prompt: sends each input to its receiver, and closes everything in order at the end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rlm.config.credentials import hide_credentials
from rlm.config.environment import takes_notifications
from rlm.errors import ConfigError, RlmError
from rlm.present.humanize import cost, many, seconds, tokens
from rlm.process.signals import until_ended
from rlm.repl.inputs import Cell, Command, Task, read_input
from rlm.repl.mentions import attachments, variables
from rlm.repl.questions import HELP, Questions
from rlm.repl.screen import ReplScreen, ending, rings, status
from rlm.repl.terminal import Entered, Terminal
from rlm.sessions.records import Record
from rlm.text.styled import Style

if TYPE_CHECKING:  # modules that an agent needs are imported after the prompt is shown
    from rlm.core.task import RunResult
    from rlm.host.host import Host
    from rlm.host.run import Run
    from rlm.host.runner import AgentRunner
    from rlm.host.spec import AgentSpec
    from rlm.kernel import JupyterKernel

_RLM = (sys.executable, "-P", "-m", "rlm_entry")


class Quit(Exception):
    """The user leaves the prompt."""


@dataclass(frozen=True, slots=True)
class PromptCommand:
    """A `/name argument` command: its description, and its function."""

    about: str
    run: Callable[[Repl, str], Awaitable[None]]
    argument: str = ""


class ResumeSpec(Protocol):
    """Returns how to resume a session (the newest, or one with an id) or a copy of it."""

    def __call__(self, wanted: str | None, *, fork: bool) -> AgentSpec: ...


@dataclass(frozen=True, slots=True)
class ReplSetup:
    """The initial state of the prompt.

    Args:
        make_spec: returns what to open. If it raises a ConfigError, the prompt shows the error and calls it again
            later.
        resume_spec: the same for an existing session.
        notes: lines that the user should read first.
        text: the initial text of the input.
    """

    make_spec: Callable[[], AgentSpec]
    resume_spec: ResumeSpec
    commands: Mapping[str, PromptCommand]
    cwd: Path
    notes: tuple[str, ...] = ()
    text: str = ""


class Repl:
    """Owns the run of one prompt."""

    def __init__(self, setup: ReplSetup, new_terminal: Callable[[Repl], Terminal], *, color: bool) -> None:
        self.setup = setup
        self.queue: list[str] = []
        self.run: Run | None = None
        self._make_spec = setup.make_spec
        self._stack = AsyncExitStack()
        self._opener: asyncio.Task[Run | None] | None = None
        self._turn: asyncio.Task[None] | None = None
        self._cells: asyncio.Task[None] | None = None
        self._job: asyncio.Task[None] | None = None
        self._closing = False
        self._lent = False
        self.prompt = new_terminal(self)
        self.screen = ReplScreen(self.prompt.put, self.prompt.size, color=color)
        self._questions = Questions(self.screen.question, self.prompt.recall)

    async def serve(self) -> None:
        """Serve the prompt until the user leaves."""
        async with self.prompt:
            for note in self.setup.notes:
                self.screen.note(note, Style.YELLOW)
            self.prompt.recall(self.setup.text)
            self._opener = asyncio.create_task(self._open())
            try:
                while (entered := await self.prompt.read()) is not None:
                    await self._handle(entered)
            except Quit:
                pass
            finally:
                await self._close()

    # ---- actions of the keys (rlm.repl.terminal.View)

    @property
    def number(self) -> int:
        return 1 + (kernel.cells if (kernel := self.kernel()) else 0)

    @property
    def working(self) -> bool:
        return _runs(self._turn) or _runs(self._cells) or _runs(self._job)

    def interrupt(self) -> None:
        """Cancel the turn, cells or command. A second call kills a kernel that ignores the first.

        If a cell of the user runs beside the agent's cell, only the user's cell is cancelled, and the turn continues.
        """
        for task in (self._cells,) if self._beside else (self._turn, self._cells, self._job):
            if task is not None and not task.done() and not self._lent:
                task.cancel()

    def unfold(self, number: int) -> None:
        self.screen.unfold(number)

    def live(self) -> str:
        return self.screen.live(working=_runs(self._turn), beside=self._beside)

    def toolbar(self) -> str:
        if self.agent is None:
            return f"{self.setup.cwd} · {'starting' if _runs(self._opener) else 'not connected: /help'}"
        return status(self.agent, self.setup.cwd, len(self.queue))

    @property
    def _beside(self) -> bool:
        """Whether a cell of the user runs beside one of the agent."""
        return (kernel := self.kernel()) is not None and kernel.runs_beside

    # ---- handling of inputs

    async def _handle(self, entered: Entered) -> None:
        names = kernel.names if (kernel := self.kernel()) else ()
        meaning = read_input(entered.text, python=self.prompt.python, names=names)
        if self._questions.open and not (isinstance(meaning, Command) and not self._questions.editing):
            if not self._questions.answer(entered.text):
                self.screen.note(HELP)
            return
        match meaning:
            case Task(text):
                self._task(text, queued=entered.queued)
            case Cell(code, told):
                self.run_cell(code, told=told)
            case Command(name, argument):
                await self._command(name, argument)

    def _task(self, text: str, *, queued: bool) -> None:
        if not _runs(self._turn):
            self.screen.echo(text)
            self.begin_turn(text)
        elif queued or self.agent is None:
            self.queue.append(text)
            self.screen.echo(text, "after this turn")
        elif self.agent is not None:
            self.agent.user.say(text, [attachment.block() for attachment in attachments(text, self.setup.cwd)])
            self.screen.echo(text, "after the current cell")

    def begin_turn(self, text: str) -> None:
        """Start a turn of the agent with a message of the user."""
        self._turn = asyncio.create_task(self._work(text))

    async def _work(self, text: str) -> None:
        """Work on one task, and then on the queue."""
        began = time.monotonic()
        try:
            agent = await self.opened()
            if agent is None:
                self.prompt.recall(text)
                return
            self.screen.begin_turn()
            await self._attach(text, agent)
            self._tell_end(await agent.ask(text), time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - the prompt must survive every error
            self.screen.end_turn()
            self._report(error)
        except asyncio.CancelledError:
            if self._closing:
                raise
            self._interrupted()
            return
        finally:
            took = time.monotonic() - began
            if self.agent is not None and rings(self.agent.config, took):
                self.prompt.ring(ending(took, notify=takes_notifications()))
            self.prompt.refresh()
        self._next()

    def _next(self) -> None:
        """Start the next turn with the messages that came too late, or else with the first task of the queue."""
        said = self.agent.user.take_undelivered() if self.agent else []
        if said or self.queue:
            self.begin_turn("\n\n".join(said) if said else self.queue.pop(0))

    def _interrupted(self) -> None:
        self.screen.end_turn()
        left = [*(self.agent.user.take_undelivered() if self.agent else ()), *self.queue]
        self.queue.clear()
        self.prompt.recall("\n".join(left))
        self.screen.note("interrupted; the session continues with your next message", Style.YELLOW)

    def _tell_end(self, result: RunResult, took: float) -> None:
        self.screen.end_turn()
        stopped = "" if result.ok else f"stopped: {result.stop} · "
        spent = f"{many(result.turns, 'turn')} · {tokens(result.usage)}"
        self.screen.note(
            " · ".join(
                filter(None, (f"{stopped}{seconds(took)}", spent, cost(result.usage) if result.usage.cost else ""))
            )
        )
        if result.error:
            self.screen.note(result.error, Style.YELLOW)

    def run_cell(self, code: str, *, told: bool) -> None:
        """Run a cell as the user, after the user's earlier cells."""
        self._cells = asyncio.create_task(self._run_cell(code, told, after=self._cells))

    async def _run_cell(self, code: str, told: bool, after: asyncio.Task[None] | None) -> None:
        try:
            if after is not None and not after.done():
                await asyncio.wait({after})
            agent = await self.opened()
            if agent is not None:
                await agent.user.run_cell(code, told=told)
        except Exception as error:  # noqa: BLE001 - the prompt must survive every error
            self._report(error)
        except asyncio.CancelledError:
            if self._closing:
                raise
        finally:
            self.prompt.refresh()

    async def _command(self, name: str, argument: str) -> None:
        self.screen.note(f"› /{name} {argument}".rstrip())
        command = self.setup.commands.get(name)
        if command is None:
            self.screen.note(f"There is no command /{name}. /help lists them.", Style.RED)
            return
        self._job = asyncio.create_task(self._run_command(command, argument))
        await asyncio.wait({self._job})  # Ctrl-C cancels the job, not this wait
        if not self._job.cancelled():
            self._job.result()

    async def _run_command(self, command: PromptCommand, argument: str) -> None:
        """
        Raises:
            Quit: the user leaves the prompt.
        """
        try:
            await command.run(self, argument)
        except RlmError as error:
            self._report(error)

    async def _attach(self, text: str, agent: AgentRunner) -> None:
        """Attach the files and variables that a message names, before the message."""
        for attachment in attachments(text, self.setup.cwd):
            agent.user.note(attachment.block())
        for expression in variables(text):
            value = await agent.kernel.evaluate(expression) if agent.kernel else "[there is no kernel]"
            agent.user.note(f'<variable name="{expression}">\n{value}\n</variable>')

    def _report(self, error: Exception) -> None:
        known = isinstance(error, RlmError | OSError)
        said = str(error) if known else f"This is a bug in rlm: {type(error).__name__}: {error}"
        self.screen.note(f"error: {hide_credentials(said)}", Style.RED)

    # ---- the open agent

    @property
    def agent(self) -> AgentRunner | None:
        """The open agent; None while it is being opened."""
        return self.run.agent if self.run else None

    def kernel(self) -> JupyterKernel | None:
        """The kernel of the open agent; None if there is none."""
        return self.agent.kernel if self.agent else None

    async def opened(self) -> AgentRunner | None:
        """Return the agent; None if it cannot be opened. The error is then already printed."""
        if self.run is None:
            if self._opener is None or self._opener.done():
                self._opener = asyncio.create_task(self._open())
            await asyncio.shield(self._opener)
        return self.agent

    async def needed(self) -> AgentRunner:
        """Return the agent.

        Raises:
            ConfigError: there is no agent; the reason is already printed.
        """
        agent = await self.opened()
        if agent is None:
            raise ConfigError("There is no agent.")
        return agent

    async def idle(self) -> AgentRunner:
        """Return the agent if it is idle.

        Raises:
            ConfigError: the agent is working, or there is none.
        """
        self.check_idle()
        return await self.needed()

    def check_idle(self) -> None:
        """
        Raises:
            ConfigError: the agent is working.
        """
        if _runs(self._turn) or _runs(self._cells):
            raise ConfigError("The agent is working. Ctrl-C stops it.")

    async def switch(self, make_spec: Callable[[], AgentSpec]) -> None:
        """Switch to another session. The open one is closed first, because a session has one process.

        Raises:
            ConfigError: there is no such session; the current one stays open.
        """
        spec = await asyncio.to_thread(make_spec)
        await self._stack.aclose()
        self.run, self._make_spec = None, lambda: spec
        await self.opened()

    async def command_line(self, *words: str) -> None:
        """Run another command of rlm for this session in the terminal."""
        session = (await self.needed()).session
        home = session.folder.parent.parent
        name, *more = words
        self._lent = True
        try:
            await self.prompt.run_program([*_RLM, name, session.id, *more, "--home", str(home)])
        finally:
            self._lent = False

    async def _open(self) -> Run | None:
        try:
            spec, host = await asyncio.to_thread(self._prepare)
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(host)
                run = await host.new_run(spec, watch=self._hear, stream=True, approve=self._questions.ask)
                self.run = await stack.enter_async_context(run)
                self._stack = stack.pop_all()
        except Exception as error:  # noqa: BLE001 - the prompt must survive every error
            self._report(error)
            return None
        if (kernel := self.kernel()) is not None:
            kernel.start()
        self.screen.color = self.screen.color and spec.config.color != "never"
        self.screen.plain = spec.config.plain
        await self._greet(self.run.agent, resumed=spec.earlier is not None)
        self.prompt.refresh()
        return self.run

    async def _greet(self, agent: AgentRunner, *, resumed: bool) -> None:
        if resumed:
            from rlm.repl.recap import last_exchanges

            for exchange in await asyncio.to_thread(last_exchanges, agent.session.folder):
                self.screen.echo(exchange.task)
                self.screen.answer(exchange.answer)
        self.screen.header(agent, resumed=resumed)

    def _prepare(self) -> tuple[AgentSpec, Host]:
        from rlm.host.host import Host

        spec = self._make_spec()
        return spec, Host(spec.config)

    def _hear(self, record: Record) -> None:
        self.screen.show(record)
        self.prompt.refresh()

    async def _close(self) -> None:
        self._closing = True
        tasks = [task for task in (self._turn, self._cells, self._job, self._opener) if task is not None]
        for task in tasks:
            task.cancel()
        try:
            await until_ended(tasks)
        finally:
            await self._stack.aclose()


def _runs(task: asyncio.Task[object] | None) -> bool:
    return task is not None and not task.done()
