"""stdout and stderr: all output of a command goes through here, except the live tree, which writes to stderr itself.

Text from a model, a program or a file is cleaned by `plain` here, or was cleaned when it was painted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rlm.config.environment import is_ci, is_dumb_terminal
from rlm.errors import RlmError
from rlm.text.terminal import plain, plain_json

if TYPE_CHECKING:
    from rlm.config.settings import Config

_BLOCK = 1 << 16
"""Characters per write."""


def put(text: str) -> None:
    """Print a text and a newline on stdout. At a terminal, remove control sequences; elsewhere the text is unchanged.

    Raises:
        RlmError: writing to stdout fails.
        BrokenPipeError: stdout has no reader any more; later output is discarded.
    """
    put_painted(plain(text) if stdout_is_terminal() else text)


def put_json(text: str) -> None:
    """Print JSON, as `put`. Characters that a terminal interprets are always escaped, even if stdout is no terminal."""
    put_painted(plain_json(text))


def put_pieces(pieces: Iterable[str], *, json: bool) -> None:
    """Print a text that may be larger than memory, as `put` or `put_json`, but without a final newline.

    No piece may end in the middle of a control sequence.
    """
    safe = plain_json if json else plain if stdout_is_terminal() else str
    for block in blocks(map(safe, pieces)):
        _write(block)


def blocks(pieces: Iterable[str]) -> Iterator[bytes]:
    """Join the pieces to blocks of UTF-8 that are large enough for one system call each."""
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
    """As `put`, for the result of `rlm.text.styled.painted`, which is already cleaned.

    The encoding is UTF-8 in any locale; a lone surrogate must not lose an answer.
    """
    put_painted_part(f"{text}\n")


def put_painted_part(text: str) -> None:
    """As `put_painted`, without a newline."""
    _write(text.encode(errors="replace"))


def say(text: str) -> None:
    """Print a text and a newline on stderr. Write errors are ignored: nobody could read a message about them."""
    say_painted(plain(text))


def say_effects(head: str, effects: Iterable[str]) -> None:
    """List what another user's session or batch would run, one line each, so that their text cannot start a line."""
    say("\n".join([head, *(f"  - {' '.join(effect.split())}" for effect in effects)]))


def say_painted(text: str) -> None:
    """As `say`, for the result of `rlm.text.styled.painted`."""
    if sys.stderr is not None:  # None: stderr was closed when we started
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:
            _silence(sys.stderr)


def stderr() -> TextIO | None:
    """Return stderr for the live tree; nothing else writes to it while the tree is shown."""
    return sys.stderr


def stdout_is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def at_terminal() -> bool:
    """Whether a person can type and read."""
    return sys.stdin is not None and sys.stdin.isatty() and stdout_is_terminal()


def stderr_is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def frame_allowed(config: Config) -> bool:
    """Whether a frame may be redrawn on stderr: not on a dumb terminal, in CI, or beside JSON on the same terminal."""
    return not ((config.json and stdout_is_terminal()) or is_dumb_terminal() or is_ci())


def keep_open() -> None:
    """Open the null device for stdin, stdout or stderr if it is closed.

    Otherwise the next file that is opened gets its descriptor, and output meant for the stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # open uses the lowest free descriptor, which is this one


@contextmanager
def taken_by_protocol() -> Iterator[tuple[int, int]]:
    """Duplicate the descriptors of stdin and stdout for a protocol. Meanwhile other output goes to stderr.

    Programs that we start do not inherit them. The caller closes them.
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
    """Flush text that others have printed: `--help`, and the check of skills. Raises the errors of `put`."""
    _write(b"")


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
    """Discard what is left in the stream's buffer, so that no error is raised for it later."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
