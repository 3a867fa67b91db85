"""`rlm`: which command it is, and what becomes of an error.

Imports late: `rlm --help` must be quick, and Ctrl-C in the middle of an import must be quiet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main() -> None:
    """The console script. All that is ours is closed when `run` returns; Python would tidy for another 50 ms."""
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
    from rlm.errors import RlmError

    try:
        code = _dispatch(argv)
        _flush()
        return code
    except RlmError as error:
        return _report(error)
    except BrokenPipeError:
        _silence_stdout()
        return exits.DONE
    except Exception as error:  # noqa: BLE001 - the last resort: nobody shall see a traceback
        return _report(error, "This is a bug in rlm: ")


def _dispatch(argv: Sequence[str]) -> int:
    from rlm.cli.arguments import COMMANDS, LATER
    from rlm.errors import ConfigError

    word = argv[0] if argv else ""
    if word in LATER:
        raise ConfigError(f"`rlm {word}` is not in this version. To give it as a task: rlm -- {word}")
    if word in COMMANDS:
        from importlib import import_module

        command = import_module(f"rlm.cli.{word}")
        return int(command.run(argv[1:]))
    from rlm.cli import oneshot

    return oneshot.run(argv)


def _report(error: Exception, prefix: str = "") -> int:
    """One or two lines, never a traceback unless asked for."""
    from rlm.cli import exits
    from rlm.config import debugging
    from rlm.terminal import plain

    if debugging():
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    told = f"{prefix}{type(error).__name__}: {error} (RLM_DEBUG=1 shows where)" if prefix else str(error)
    print(f"rlm: {plain(told)}", file=sys.stderr)
    return exits.of_error(error)


def _flush() -> None:
    """Here, where it is told that a disk is full."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # it was closed when we started
            stream.flush()


def _silence_stdout() -> None:
    """Whoever read our stdout has gone; Python must not complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
