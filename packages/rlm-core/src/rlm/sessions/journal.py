"""The append-only file of records, with one writer.

After `append` a line survives the end of our process; after `sync` it survives a power failure.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from math import inf
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn, Self, TypeVar

from rlm.errors import SessionError
from rlm.process import files
from rlm.sessions.folder import refused
from rlm.sessions.lines import NotRecordError, line_of, read_line
from rlm.sessions.records import Journalled, MessageRecord, type_name
from rlm.sessions.signature import RecordSigner, Signer

NAME = "messages.jsonl"

Kind = TypeVar("Kind", bound=Journalled)


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of a journal. The first `valid` bytes are whole lines; the `torn` bytes after them are not.

    `damaged` has the numbers, from 1, of invalid lines within the valid part: no records, or without required fields.
    """

    records: tuple[Journalled, ...]
    valid: int = 0
    torn: int = 0
    damaged: tuple[int, ...] = ()


class Reader:
    """The records of a journal, one at a time. Memory holds only one line, whatever the size of the journal.

    A line is whole if it ends with a newline: a killed writer leaves a partial line. `valid`, `torn` and `damaged` are
    as in `Reading`, for the part that has been read. `offset` is the byte where the newest record begins.
    """

    def __init__(self, open: Callable[[], BinaryIO], most: float = inf) -> None:
        """Reading ends with the record that reaches `most` bytes."""
        self._open = open
        self._most = most
        self._begin()

    def _begin(self) -> None:
        self.valid = self.torn = self.offset = 0
        self._number = 0
        self._damaged: list[int] = []
        self._bad: list[int] = []

    @property
    def damaged(self) -> tuple[int, ...]:
        return tuple(self._damaged)

    @property
    def whole(self) -> bool:
        """Whether all of it could be read."""
        return not self.torn and not self._damaged

    def __iter__(self) -> Iterator[Journalled]:
        """Read from the beginning.

        Raises:
            SessionError: it cannot be read.
        """
        self._begin()
        with self._open() as stream:
            for line in stream:
                record = self._take(line)
                del line  # it may be large
                if record is not None:
                    yield record
                if self.valid >= self._most:
                    return

    def _take(self, line: bytes) -> Journalled | None:
        self._number += 1
        self.offset = self.valid + self.torn
        self.torn += len(line)
        record = None
        try:
            record = read_line(line)
        except NotRecordError as error:
            self._bad.append(self._number)
            if not error.mistyped:
                return None
        self._damaged += self._bad  # invalid lines before a whole line are damage, not a torn end
        self._bad.clear()
        self.valid, self.torn = self.valid + self.torn, 0
        return record

    def reading(self) -> Reading:
        """Read all of it at once."""
        return Reading(tuple(self), self.valid, self.torn, self.damaged)


def parse(data: bytes) -> Reading:
    """Read the whole lines."""
    return Reader(lambda: BytesIO(data)).reading()


def whole_lines(folder: Path) -> bytes:
    """Return the bytes that `read` finds valid; empty if there is no journal.

    Raises:
        SessionError: it cannot be read.
    """
    try:
        data = files.read(folder / NAME)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SessionError(f"The journal of {folder} cannot be read: {error.strerror or error}.") from None
    end = data.rfind(b"\n") + 1
    while end and not _is_object(data[data.rfind(b"\n", 0, end - 1) + 1 : end]):
        end = data.rfind(b"\n", 0, end - 1) + 1
    return data[:end]


def _is_object(line: bytes) -> bool:
    """Whether the line is a record, even one without required fields."""
    try:
        read_line(line)
    except NotRecordError as error:
        return error.mistyped
    return True


def _record(line: bytes) -> Journalled | None:
    try:
        return read_line(line)
    except NotRecordError:
        return None


def reader(folder: Path) -> Reader:
    """Return a reader of the journal of a session folder, which may be running."""
    return Reader(lambda: opened(folder))


def read(folder: Path, start: int = 0, most: float = inf) -> Reading:
    """Read the journal of a session folder, which may be running, from byte `start`: all, or about `most` bytes.

    Raises:
        SessionError: there is none, or it cannot be read.
    """
    return Reader(lambda: opened(folder, start), most).reading()


def size(folder: Path) -> int:
    """Return the size in bytes of the journal of a session folder; 0 if there is none."""
    try:
        return (folder / NAME).lstat().st_size
    except OSError:
        return 0


def records_of(folder: Path, kind: type[Kind]) -> Iterator[Kind]:
    """Yield the records of this type. Other lines are skipped without parsing, which is much faster.

    Raises:
        SessionError: there is no journal, or it cannot be read.
    """
    name = json.dumps(type_name(kind)).encode()
    with opened(folder) as stream:
        for line in stream:
            if name in line and isinstance(record := _record(line), kind):
                yield record


def first_and_last(folder: Path) -> tuple[Journalled, Journalled] | None:
    """Return the first record and the last; None if there is none. The records between them are not read.

    Raises:
        SessionError: there is no journal, or it cannot be read.
    """
    with opened(folder) as stream:
        first = next((record for line in stream if (record := _record(line))), None)
        last, size, window = None, stream.seek(0, os.SEEK_END), 1 << 16
        while first is not None and last is None:
            stream.seek(max(0, size - window))
            lines = stream.readlines()[window < size :]  # the first of them may be partial
            last = next((record for line in reversed(lines) if (record := _record(line))), None)
            window *= 8
    return (first, last) if first and last else None


def message_at(stream: BinaryIO, place: int) -> MessageRecord:
    """Return the message that begins at this byte of an open journal.

    Raises:
        SessionError: there is none.
    """
    stream.seek(place)
    record = _record(stream.readline())
    if not isinstance(record, MessageRecord):
        raise SessionError("The journal changed while it was read.")
    return record


def opened(folder: Path, start: int = 0) -> BinaryIO:
    """Open the journal of a session folder for reading at byte `start`.

    Raises:
        SessionError: there is none, or it cannot be read.
    """
    try:
        file = files.open_file(folder / NAME)
        os.lseek(file, start, os.SEEK_SET)
        return os.fdopen(file, "rb")
    except OSError as error:
        raise SessionError(f"The journal of {folder} cannot be read: {error.strerror or error}.") from None


class Journal:
    """The one writer. It holds the file's lock until it is closed or its process ends."""

    def __init__(self, folder: int, *, new: bool = True) -> None:
        """Create the journal in the folder of this descriptor, or open the existing one.

        Raises:
            BlockingIOError: another process writes to it.
            SessionError: it cannot be opened.
        """
        try:
            self._file = (files.create if new else files.open_file)(NAME, os.O_RDWR | os.O_APPEND, dir_fd=folder)
        except OSError as error:
            raise refused("The journal cannot be opened", error) from error
        try:
            _lock(self._file)
        except BlockingIOError:
            os.close(self._file)
            raise
        self._size = os.fstat(self._file).st_size
        self.synced_size = self._size
        """The number of bytes that are on disk."""
        self.synced_digest = ""
        """The SHA-256 of these bytes in hex; empty if the journal is not signed."""
        self._broken = ""
        self._signer: RecordSigner | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self) -> Reading:
        """Read the records of earlier runs."""

        def from_the_beginning() -> BinaryIO:
            os.lseek(self._file, 0, os.SEEK_SET)
            return open(self._file, "rb", closefd=False)

        return Reader(from_the_beginning).reading()

    def cut(self, size: int) -> None:
        """Truncate the journal to `size` bytes."""
        try:
            os.ftruncate(self._file, size)
            os.fdatasync(self._file)
        except OSError as error:
            raise refused("The journal cannot be repaired", error) from None
        self._size = self.synced_size = size

    def sign(self, signer: Signer, run: str) -> None:
        """Sign all later records, as records of this run."""
        with open(self._file, "rb", closefd=False) as stream:
            stream.seek(0)
            self._signer = RecordSigner(signer, run, hashlib.file_digest(stream, "sha256"))
        self.synced_digest = self._signer.digest

    def append(self, record: Journalled) -> None:
        """Write a record.

        Raises:
            SessionError: it could not be written. Nothing of it is left, and later records are refused.
        """
        if self._broken:
            raise SessionError(self._broken)
        data = line_of(record)
        if self._signer is not None:
            data = self._signer.sign(data)
        try:
            files.write_all(self._file, data)
        except OSError as error:
            with suppress(OSError):  # if it fails, a partial line stays, which readers detect by its missing newline
                os.ftruncate(self._file, self._size)
            self._give_up(error)
        self._size += len(data)

    def sync(self) -> None:
        """Wait until all records are on disk. It takes milliseconds, so it is done per request, not per record.

        Raises:
            SessionError: it failed. Later records are refused.
        """
        if self._broken:
            raise SessionError(self._broken)
        if self.synced_size == self._size:
            return
        try:
            os.fdatasync(self._file)
        except OSError as error:
            self._give_up(error)
        self.synced_size = self._size
        if self._signer is not None:
            self.synced_digest = self._signer.digest

    def _give_up(self, error: OSError) -> NoReturn:
        """Refuse later records. After a failed sync the state on disk is unknown, and a second try proves nothing."""
        self._broken = str(refused("The session cannot be written", error))
        raise SessionError(self._broken) from None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int) -> None:
    """Take the lock. Try several times, because `is_locked` briefly holds it to check whether it is free.

    Raises:
        BlockingIOError: another process has it.
    """
    for wait in (0.01, 0.02, 0.04, 0.0):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            time.sleep(wait)
        except OSError:
            return None  # a file system without locks: work without
    return None


@contextmanager
def locked(folder: int) -> Iterator[None]:
    """Prevent writes to the journal in this session folder (a descriptor) inside the `with` block.

    Raises:
        BlockingIOError: a process writes it.
    """
    try:
        file = files.open_file(NAME, dir_fd=folder)
    except OSError:  # there is none: the run was killed before it began
        yield
        return
    try:
        _lock(file)
        yield
    finally:
        os.close(file)


def is_locked(folder: Path) -> bool | None:
    """Whether a living process writes the journal of this session folder; None if the file system has no locks."""
    try:
        file = files.open_file(folder / NAME)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(file)
