"""Where the answer goes beside the screen: lines of JSON on stdout, and the file that `-o` names."""

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
    put_json(json.dumps(wire(record), ensure_ascii=False))


@contextmanager
def ends_with_a_result(wanted: bool) -> Iterator[None]:
    """For what may fail before a run begins."""
    try:
        yield
    except RlmError as error:
        if wanted:
            put_record(no_result().with_exit(exit_codes.of_error(error), str(error)))
        raise


class OutputFile:
    """Where `-o` led when the command began. Without `-o` nothing is written."""

    def __init__(self, path: Path | None, target: files.Replacement | None) -> None:
        self._path = path
        self._target = target

    def write(self, text: str) -> None:
        """
        Raises:
            RlmError: it could not be written, in spite of all.
        """
        self.write_pieces([text])

    def write_pieces(self, pieces: Iterable[str]) -> None:
        """Write a text that may be longer than the memory is large.

        Raises:
            RlmError: it could not be written, in spite of all.
        """
        if self._target is None:
            return
        try:
            self._target.commit(blocks(pieces))
        except OSError as error:
            raise RlmError(f"{self._path} could not be written: {error.strerror}.") from None


@contextmanager
def open_output(path: Path | None) -> Iterator[OutputFile]:
    """Before anything is done for it, see that it can be written, and hold its place: a cell cannot lead it elsewhere.

    Raises:
        ConfigError: it cannot.
    """
    if path is None:
        yield OutputFile(None, None)
        return
    try:
        # links on the way are the user's; one with this very name may be left by an earlier run
        target = files.Replacement(files.resolve(path.parent) / path.name)
    except files.UnsafePath as error:
        raise ConfigError(f"{path} cannot be written: it {error.strerror}. Name a plain file.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {_REASONS.get(type(error), error.strerror)}.") from None
    with target:
        yield OutputFile(path, target)


_REASONS = {FileNotFoundError: "there is no such folder", NotADirectoryError: "there is no such folder"}
