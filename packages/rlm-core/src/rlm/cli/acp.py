"""`rlm acp`, also `rlm --acp`: the Agent Client Protocol on stdin and stdout."""

from __future__ import annotations

import logging

from rlm.cli.arguments import CommandLine
from rlm.cli.own_process import ending_orphans, harden_process
from rlm.cli.signals import closing_in_order, run_until_signal
from rlm.cli.streams import at_terminal, say, taken_by_protocol
from rlm.config.environment import without_effect
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.process.limits import check_limits


def run(line: CommandLine) -> int:
    """Serve a client until it closes our stdin.

    Raises:
        ConfigError: a setting is not allowed, the limits of the system are too low, or stdin and stdout are files.
    """
    if "doctor" in line.options:
        from rlm.cli import doctor

        return doctor.run(line)
    if line.words or line.rest is not None:
        raise ConfigError("rlm acp accepts no task: its client sends the tasks.")
    read_config(line.settings)
    if at_terminal():
        say("rlm acp waits for a client of the Agent Client Protocol on stdin: editors start it.")
    harden_process(debug=line.wants("debug"))
    check_limits()
    for warning in without_effect():
        _log(warning)
    logging.basicConfig(handlers=[_OneLine()])
    with closing_in_order(), taken_by_protocol() as (read, write), ending_orphans():
        from rlm.acp.connection import serve

        run_until_signal(serve(read, write, line.settings, _log))
    return exit_codes.DONE


def _log(text: str) -> None:
    say(f"rlm: {text}")


class _OneLine(logging.Handler):
    """Log handler that prints complaints of the protocol package as one line, without a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        _log(record.getMessage() + (f": {type(error).__name__}: {error}" if error else ""))
