"""The command of every skill: `[project.scripts] <name> = "rlm.skill:cli"`."""

import inspect
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .signature import read_signature

CALLS = "RLM_SKILL_CALLS_LOG"
"""The variable that names the file for counting calls; the only variable that `rlm.skill` reads."""

FAILED = 1
USAGE = 2
INTERRUPTED = 130


def cli() -> int:
    """Run the skill of this command, with the arguments of `sys.argv`.

    The name of the command selects the skill: `websearch` imports `websearch` and calls its `run`.

    Returns:
        Exit status: 0; 1 and a traceback of what `run` raised; 2 after a usage error; 130 after Ctrl-C.
    """
    try:
        return _flushed(Path(sys.argv[0]).name, sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has closed it (`websearch … | head`): end without a message
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if not any(event & select.POLLERR for _, event in poll.poll(0)):
            raise  # another pipe, whose error `run` did not handle
        # Python flushes again at exit, and would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _flushed(name: str, words: list[str]) -> int:
    """Run the skill, and flush stdout (also after `--help`) while a closed reader can still be detected."""
    try:
        status = _main(name, words)
    except SystemExit:
        print(end="", flush=True)
        raise
    print(end="", flush=True)
    return status


def _main(name: str, words: list[str]) -> int:
    if not name.isidentifier() or find_spec(name) is None:
        return _complain(name, f"no skill {name!r} is installed in {sys.prefix}; a command has the name of its skill")
    run = getattr(import_module(name), "run", None)
    if not callable(run):
        return _complain(
            name, f"the package {name!r} offers no `run`; write in its __init__.py: from .{name} import run"
        )
    return _call(name, run, words)


def _call(name: str, run: Callable[..., Any], words: list[str]) -> int:
    from .arguments import RepeatedFlagError, parse

    try:
        args, kwargs = parse(read_signature(run, name), words)
    except RepeatedFlagError as error:
        return _complain(name, str(error))
    log_call(name)
    try:
        result = _wait_for(run(*args, **kwargs))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - printed as Python does, but shorter
        _print_traceback(error)
        return FAILED
    print_result(result)
    return 0


def _print_traceback(error: Exception) -> None:
    """Print a traceback without the frames of this library and of asyncio, which do not help to find the error."""
    import traceback

    frames = error.__traceback__
    while frames and frames.tb_next:
        file = frames.tb_frame.f_code.co_filename
        if file != __file__ and Path(file).parent.name != "asyncio":
            break
        frames = frames.tb_next
    print(end="", flush=True)
    traceback.print_exception(error.with_traceback(frames))


def _wait_for(result: Any) -> Any:
    if not inspect.isawaitable(result):
        return result
    import asyncio

    async def wait() -> Any:
        return await result

    return asyncio.run(wait())


def _complain(name: str, problem: str) -> int:
    print(f"{name}: {problem}", file=sys.stderr)
    return USAGE


# ---- the result of a skill


def as_json(value: Any) -> str:
    """Format a value as JSON.

    Values that JSON and pydantic do not support become their repr, NaN and infinities their names.

    Bytes become text if all bytes in the value are UTF-8, otherwise base64 (RFC 4648, as JSON Schema's
    contentEncoding).
    """
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value, fallback=repr, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, UnicodeDecodeError):
        return to_json(value, fallback=repr, inf_nan_mode="strings", bytes_mode="base64").decode()


def print_result(value: Any) -> None:
    """Print a skill's result on stdout: text and bytes unchanged, nothing for None, all other values as JSON.

    A text gets a final newline, unless it ends with one.
    """
    if value is None:
        return
    if isinstance(value, bytes | bytearray):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        return
    text = value if isinstance(value, str) else as_json(value)
    # A lone surrogate or a narrow encoding must not lose the result.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    print(text, end="" if text.endswith("\n") else "\n")


# ---- counting of calls


def log_call(name: str) -> None:
    """Append a line with the skill's name to the file that RLM_SKILL_CALLS_LOG names.

    Each line is one write with O_APPEND, so commands that run at the same time do not mix their lines. If the variable
    is unset, or the file is unwritable or a pipe without a reader, nothing is counted, and the command continues.
    """
    path = os.environ.get(CALLS)
    if not path:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    with suppress(OSError, ValueError):
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, f"{name}\n".encode())
        finally:
            os.close(descriptor)
