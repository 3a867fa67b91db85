"""`rlm`: which command it is, and what becomes of an error.

Imports late: `rlm --help` must be quick, and Ctrl-C in the middle of an import must be quiet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main() -> None:
    """The console script. All that is ours is closed when `run` returns; Python would tidy for another 50 ms."""
    from rlm.process.inherited import end_on_signals, reset_signals

    end_on_signals()  # first: what follows imports for 50 ms and more
    reset_signals()
    from rlm.config.credentials import take_environment

    take_environment()
    os._exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        from rlm.cli import exits

        return exits.INTERRUPTED


def _run(argv: Sequence[str]) -> int:
    from rlm.cli import exits
    from rlm.cli.streams import flush, keep_open
    from rlm.errors import RlmError

    keep_open()
    try:
        code = _code_of(argv)
        flush()
        return code
    except RlmError as error:
        return _report(argv, error, str(error))
    except BrokenPipeError:
        return exits.DONE  # whoever read our stdout has gone
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return _report(argv, error, f"{what}{error.strerror or error} (RLM_DEBUG=1 shows where)")
    except Exception as error:  # noqa: BLE001 - the last resort: nobody shall see a traceback
        return _report(argv, error, f"This is a bug in rlm: {type(error).__name__}: {error} (RLM_DEBUG=1 shows where)")


def _code_of(argv: Sequence[str]) -> int:
    try:
        return _dispatch(argv)
    except SystemExit as said:  # so argparse ends after `--help`
        return int(said.code or 0)


def _dispatch(argv: Sequence[str]) -> int:
    from rlm.cli.arguments import COMMANDS, LATER, spelt_out
    from rlm.errors import ConfigError

    argv = spelt_out(argv)
    word = argv[0] if argv else ""
    if word in LATER:
        raise ConfigError(f"`rlm {word}` is not in this version. To give it as a task: rlm -- {word}")
    if word in COMMANDS:
        from importlib import import_module

        from rlm.cli.cwd import working_directory

        working_directory()
        command = import_module(f"rlm.cli.{word}")
        return int(command.run(argv[1:]))
    from rlm.cli import oneshot

    return oneshot.run(argv)


def _report(argv: Sequence[str], error: Exception, told: str) -> int:
    """One or two lines, never a traceback unless asked for."""
    from rlm.cli import exits
    from rlm.cli.streams import say
    from rlm.config.credentials import hide_credentials
    from rlm.config.settings import wants_debug

    if wants_debug(argv):
        import traceback

        say(hide_credentials("".join(traceback.format_exception(error)).rstrip("\n")))
    say(f"rlm: {hide_credentials(told)}")
    return exits.of_error(error)
