"""The append-only file of records: one writer. A line outlives our process when `append` returns, and the machine's
power when `sync` does."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from rlm.errors import SessionError
from rlm.session.codec import Record
from rlm.session.folder import read_regular, refused, write_all

NAME = "messages.jsonl"

_OPEN = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal holds. `sound` bytes of it are whole lines; `torn` ones after them are not.

    `damaged` are the numbers, from 1, of lines before the sound end that are no records.
    """

    records: tuple[Record, ...]
    sound: int = 0
    torn: int = 0
    damaged: tuple[int, ...] = ()


def parse(data: bytes) -> Reading:
    """Read what is whole. A line is whole when its newline is there: a writer that was killed leaves half a line."""
    records: list[Record] = []
    bad: list[int] = []
    damaged: list[int] = []
    end = sound = 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        end += len(line)
        record = _record(line)
        if record is None:
            bad.append(number)
        else:
            records.append(record)
            damaged, sound = bad.copy(), end  # bad lines with a good one after them are no torn end
    return Reading(tuple(records), sound, len(data) - sound, tuple(damaged))


def _record(line: bytes) -> Record | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and isinstance(record.get("type"), str) and type(record.get("id")) is int
    return record if whole else None


def line(record: Record) -> bytes:
    """A record as a line. Readable text as it is; a lone surrogate, which UTF-8 cannot hold, as its escape."""
    try:
        return (json.dumps(record, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(record) + "\n").encode()


def read(folder: Path, start: int = 0) -> Reading:
    """The journal of a session folder, which may be running, from byte `start`.

    Raises:
        SessionError: there is none, or it cannot be read.
    """
    try:
        return parse(read_regular(folder / NAME, start))
    except OSError as error:
        raise SessionError(f"The journal of {folder} cannot be read: {error.strerror or error}.") from None


class Journal:
    """The one writer. Holds the file's lock until it is closed, or its process ends."""

    def __init__(self, folder: int, *, new: bool = True) -> None:
        """Make the journal in the folder of this descriptor, or open the one that is there.

        Raises:
            BlockingIOError: another process writes to it.
            SessionError: it cannot be opened.
        """
        flags = _OPEN | (os.O_CREAT | os.O_EXCL if new else 0)
        try:
            self._file = os.open(NAME, flags, 0o600, dir_fd=folder)
        except OSError as error:
            raise refused("The journal cannot be opened", error) from error
        try:
            _lock(self._file)
        except BlockingIOError:
            os.close(self._file)
            raise
        self._size = os.fstat(self._file).st_size
        self._synced = self._size
        self._broken = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def read(self) -> Reading:
        """What an earlier run wrote."""
        with open(self._file, "rb", closefd=False) as stream:
            stream.seek(0)
            return parse(stream.read())

    def cut(self, size: int) -> None:
        """Throw away what comes after `size` bytes."""
        try:
            os.ftruncate(self._file, size)
            os.fdatasync(self._file)
        except OSError as error:
            raise refused("The journal cannot be mended", error) from None
        self._size = self._synced = size

    def append(self, record: Record) -> None:
        """Write a record.

        Raises:
            SessionError: it could not be written. Nothing of it is left, and no later record is taken.
        """
        if self._broken:
            raise SessionError(self._broken)
        data = line(record)
        try:
            write_all(self._file, data)
        except OSError as error:
            with suppress(OSError):  # else half a line stays, and readers know it by its missing newline
                os.ftruncate(self._file, self._size)
            self._give_up(error)
        self._size += len(data)

    def sync(self) -> None:
        """Wait until the disk has all records: a few milliseconds, so once for a request and not for each record.

        Raises:
            SessionError: it has not. No later record is taken.
        """
        if self._broken:
            raise SessionError(self._broken)
        if self._synced == self._size:
            return
        try:
            os.fdatasync(self._file)
        except OSError as error:
            self._give_up(error)
        self._synced = self._size

    def _give_up(self, error: OSError) -> NoReturn:
        """After a failed sync nobody knows what is on disk: a second try that succeeds would prove nothing."""
        self._broken = str(refused("The session cannot be written", error))
        raise SessionError(self._broken) from None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock(file: int) -> None:
    """Take the lock. More than one try, for `is_locked` holds it for an instant to see whether it is free.

    Raises:
        BlockingIOError: another has it.
    """
    for wait in (0.01, 0.02, 0.04, 0.0):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            time.sleep(wait)
        except OSError:
            return None  # a file system that knows no locks: work without
    return None


def is_locked(folder: Path) -> bool | None:
    """Whether a living process writes the journal of this session folder; None where the file system cannot tell."""
    try:
        file = os.open(folder / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
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
