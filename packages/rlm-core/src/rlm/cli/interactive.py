"""`rlm` without a task, and `rlm resume` without one: the interactive prompt.

The prompt appears before the modules that an agent needs are imported.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from rlm.cli.arguments import CommandLine
from rlm.cli.own_process import ending_orphans, harden_process
from rlm.cli.signals import closing_in_order, run_until_signal
from rlm.cli.streams import put_painted_part, say
from rlm.config.environment import is_dumb_terminal, state_folder, without_effect
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.process.limits import check_limits

if TYPE_CHECKING:
    from rlm.host.spec import AgentSpec
    from rlm.repl.session import Repl
    from rlm.repl.terminal import Terminal


def run(line: CommandLine, cwd: Path, spec: AgentSpec | None = None, text: str = "") -> int:
    """Serve the prompt until the user leaves. `spec` is a session to resume; `text` is put into the input line.

    Raises:
        ConfigError: the system's limits are too low.
    """
    harden_process(debug=line.wants("debug"))
    check_limits()
    with closing_in_order(), ending_orphans(), ExitStack() as stack:
        typed = ""
        if not is_dumb_terminal():
            from rlm.repl.terminal import keys_kept

            typed = stack.enter_context(keys_kept())
        return _serve(line, cwd, spec, text, typed)


def _serve(line: CommandLine, cwd: Path, spec: AgentSpec | None, text: str, typed: str) -> int:
    from rlm.repl.commands import COMMANDS
    from rlm.repl.session import Repl, ReplSetup

    def make_spec() -> AgentSpec:
        from rlm.host.spec import AgentSpec, context_file

        config = read_config(line.settings)
        return AgentSpec("", config, cwd, context_file(config.context))

    def resume_spec(wanted: str | None, *, fork: bool) -> AgentSpec:
        from rlm.host.resume import resumed_spec
        from rlm.host.resumed_settings import GivenSettings

        return resumed_spec(wanted, GivenSettings(line.settings), cwd, fork=fork)

    setup = ReplSetup((lambda: spec) if spec else make_spec, resume_spec, COMMANDS, cwd, tuple(without_effect()), text)
    repl = Repl(setup, lambda repl: _new_terminal(repl, cwd, typed), color=not is_dumb_terminal())
    signal.signal(signal.SIGINT, lambda *_: repl.interrupt())
    try:
        run_until_signal(repl.serve(), but=(signal.SIGINT,))
    finally:
        _say_how_to_go_on(repl, line.options.get("directory"))
    return exit_codes.DONE


def _say_how_to_go_on(repl: Repl, directory: str | None) -> None:
    if repl.run is None or repl.run.session is None:
        return
    from rlm.cli.reporter import resume_words

    if words := resume_words(repl.run.session, repl.run.agent.config, directory):
        say(f"rlm resume {words}")


def _new_terminal(repl: Repl, cwd: Path, typed: str) -> Terminal:
    if is_dumb_terminal():
        from rlm.repl.terminal import DumbTerminal

        return DumbTerminal(put_painted_part)
    from rlm.repl.completion import PromptCompleter
    from rlm.repl.prompt import Prompt

    names = {name: command.about for name, command in repl.setup.commands.items()}
    state = state_folder()  # holds the earlier input of each folder
    history = state / "rlm" / "history" / sha256(str(cwd).encode()).hexdigest()[:16] if state else None
    return Prompt(repl, PromptCompleter(names, cwd, repl.kernel, lambda: repl.prompt.python), history, typed)
