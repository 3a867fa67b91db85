"""stdout and stderr: all that a command says goes through here, but for the live tree, which borrows stderr.

What comes from a model, a program or a file passes `plain` here, or has passed it where it was painted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rlm.errors import RlmError
from rlm.text.terminal import plain, plain_json

_BLOCK = 1 << 16
"""Characters."""


def put(text: str) -> None:
    """A text and a newline on stdout: as it is; on a terminal without what would move the cursor or worse.

    Raises:
        RlmError: stdout cannot be written.
        BrokenPipeError: nobody reads it any more; what is put from then on goes nowhere.
    """
    _put(plain(text) if stdout_is_terminal() else text)


def put_json(text: str) -> None:
    """As `put` for JSON: what a terminal would obey is an escape in it, wherever it goes."""
    _put(plain_json(text))


def put_pieces(pieces: Iterable[str], *, json: bool) -> None:
    """A text that may be longer than the memory is large, as `put` or `put_json`, but with no newline of its own.

    No piece ends in the middle of what a terminal obeys.
    """
    safe = plain_json if json else plain if stdout_is_terminal() else str
    for block in blocks(map(safe, pieces)):
        _write(block)


def blocks(pieces: Iterable[str]) -> Iterator[bytes]:
    """The pieces in UTF-8, joined to what is worth a call of the system."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _BLOCK:
            yield "".join(held).encode(errors="replace")
            held, size = [], 0
    yield "".join(held).encode(errors="replace")


def put_painted(text: str) -> None:
    """As `put` for what `rlm.text.styled.painted` has made: it cleans all of it."""
    _put(text)


def put_painted_part(text: str) -> None:
    """As `put_painted`, without a newline."""
    _write(text.encode(errors="replace"))


def say(text: str) -> None:
    """A text and a newline on stderr. If it cannot be written, nobody could read an error either."""
    say_painted(plain(text))


def say_effects(head: str, effects: Iterable[str]) -> None:
    """What somebody else's session or batch would run: a line each, so that no text of theirs can begin one."""
    say("\n".join([head, *(f"  - {' '.join(effect.split())}" for effect in effects)]))


def say_painted(text: str) -> None:
    """As `say` for what `rlm.text.styled.painted` has made."""
    if sys.stderr is not None:  # it was closed when we started
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:
            _silence(sys.stderr)


def stderr() -> TextIO | None:
    """For the live tree, which is alone with it as long as it is there."""
    return sys.stderr


def stdout_is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def at_terminal() -> bool:
    """Whether a person can type and read."""
    return sys.stdin is not None and sys.stdin.isatty() and stdout_is_terminal()


def stderr_is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def keep_open() -> None:
    """Put the null device where stdin, stdout or stderr is closed: else the next file that is opened takes its place,

    and gets what was meant for it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one


@contextmanager
def taken_by_protocol() -> Iterator[tuple[int, int]]:
    """The descriptors of stdin and stdout, for a protocol alone. Whoever prints meanwhile prints to stderr.

    Programs that we start do not inherit them. Their owner closes them.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    read, write = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    yield read, write


def flush() -> None:
    """For what others have printed: `--help`, and the check of skills. Raises what `put` does."""
    _write(b"")


def _put(text: str) -> None:
    """In UTF-8, whatever the locale; a lone surrogate must not cost an answer."""
    _write(f"{text}\n".encode(errors="replace"))


def _write(data: bytes) -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        _silence(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise RlmError(f"stdout cannot be written: {error.strerror}.") from None


def _silence(stream: TextIO) -> None:
    """What is left in its buffer must not be complained about later."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
