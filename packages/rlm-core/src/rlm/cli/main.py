"""`rlm`: choose the command, and report its errors.

Modules are imported late: `rlm --help` must be quick, and Ctrl-C during an import must print no traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlm.cli import Interrupted

if TYPE_CHECKING:
    from rlm.cli.arguments import CommandLine


def main() -> None:
    """The console script. `run` closes everything of rlm; exiting here skips 50 ms of Python's own cleanup."""
    from rlm.process.signals import end_on_signals, reset_signals

    end_on_signals()  # first: the imports below take 50 ms and more
    reset_signals()
    from rlm.config.credentials import take_environment

    take_environment()
    os._exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        from rlm.core import exit_codes

        return exit_codes.INTERRUPTED


def _run(argv: Sequence[str]) -> int:
    from rlm.cli.arguments import read_arguments
    from rlm.cli.streams import flush, keep_open
    from rlm.core import exit_codes
    from rlm.errors import RlmError

    keep_open()
    line = read_arguments(argv)
    try:
        code = _dispatch(line)
        flush()
        return code
    except RlmError as error:
        return _report(line, error, str(error))
    except BrokenPipeError:
        return exit_codes.DONE  # the reader of our stdout has closed it
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return _report(line, error, f"{what}{error.strerror or error} (RLM_DEBUG=1 shows where)")
    except SystemExit as said:  # argparse ends in this way, and the check of skills uses it
        return said.code if isinstance(said.code, int) else int(said.code is not None)
    except Exception as error:  # noqa: BLE001 - the last resort: no user may see a traceback
        return _report(line, error, f"This is a bug in rlm: {type(error).__name__}: {error} (RLM_DEBUG=1 shows where)")


def _dispatch(line: CommandLine) -> int:
    from importlib import import_module

    if "help" in line.options:
        from rlm.cli.help import show_help

        return show_help(line.command)
    from rlm.cli.output import ends_with_a_result
    from rlm.cli.own_process import change_directory, working_directory

    with ends_with_a_result(line.command in ("", "resume", "demo") and line.wants("json")):
        line.check()
        change_directory(line.options.get("directory"))
        working_directory()
    name = "acp" if "acp" in line.options else line.command or "oneshot"
    command = import_module(f"rlm.cli.{name}")
    try:
        return int(command.run(line))
    except Interrupted as interrupted:
        return interrupted.code


def _report(line: CommandLine, error: Exception, message: str) -> int:
    """Print an error as one or two lines; a traceback only if the user asked for it."""
    from rlm.cli.streams import say
    from rlm.config.credentials import hide_credentials
    from rlm.core import exit_codes

    if line.wants("debug"):
        import traceback

        say(hide_credentials("".join(traceback.format_exception(error)).rstrip("\n")))
    say(f"rlm: {hide_credentials(message)}")
    return exit_codes.of_error(error)
