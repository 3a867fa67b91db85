"""Output of the answer besides the screen: lines of JSON on stdout, and the file that `-o` names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rlm.cli.streams import blocks, put_json
from rlm.core import exit_codes
from rlm.errors import ConfigError, RlmError
from rlm.process import files
from rlm.sessions.metrics import no_result
from rlm.sessions.records import Record, wire


def put_record(record: Record) -> None:
    """Print a record as a line of JSON on stdout."""
    put_json(json.dumps(wire(record), ensure_ascii=False))


@contextmanager
def ends_with_a_result(wanted: bool) -> Iterator[None]:
    """Write a result record if something fails before a run begins."""
    try:
        yield
    except RlmError as error:
        if wanted:
            put_record(no_result().with_exit(exit_codes.of_error(error), str(error)))
        raise


class OutputFile:
    """The file that `-o` names, resolved when the command began. Without `-o` nothing is written."""

    def __init__(self, path: Path | None, target: files.Replacement | None) -> None:
        self._path = path
        self._target = target

    def write(self, pieces: Iterable[str]) -> None:
        """Write a text, in pieces because it may be larger than memory.

        Raises:
            RlmError: the file cannot be written, although the earlier check passed.
        """
        if self._target is None:
            return
        try:
            self._target.commit(blocks(pieces))
        except OSError as error:
            raise RlmError(f"{self._path} could not be written: {error.strerror}.") from None


@contextmanager
def open_output(path: Path | None) -> Iterator[OutputFile]:
    """Check before the run that the file can be written, and hold its folder open, so that no cell can redirect it.

    Raises:
        ConfigError: the file cannot be written.
    """
    if path is None:
        yield OutputFile(None, None)
        return
    try:
        # links in the parent path are the user's; an earlier run may have left one with this very name
        target = files.Replacement(files.resolve(path.parent) / path.name)
    except files.UnsafePath as error:
        raise ConfigError(f"{path} cannot be written: it {error.strerror}. Name a plain file.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {_REASONS.get(type(error), error.strerror)}.") from None
    with target:
        yield OutputFile(path, target)


_REASONS = {FileNotFoundError: "there is no such folder", NotADirectoryError: "there is no such folder"}
