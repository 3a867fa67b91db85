"""The append-only file: complete lines, one writer, and readers that accept an incomplete last line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlm.errors import SessionError
from rlm.sessions import journal
from rlm.sessions.journal import Journal, Reading, is_locked, parse
from rlm.sessions.lines import line_of
from rlm.sessions.records import ErrorRecord


def record(id: int, reason: str = "snow ☃") -> ErrorRecord:
    return ErrorRecord(id, 1.0, reason)


RECORD = record(0)


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[int]:
    """A descriptor of `tmp_path`."""
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield folder
    os.close(folder)


def test_a_record_is_in_the_file_when_append_returns(handle: int, tmp_path: Path) -> None:
    with Journal(handle) as writer:
        for id in range(3):
            writer.append(record(id))
            assert journal.read(tmp_path) == Reading(tuple(map(record, range(id + 1))), len(line_of(RECORD)) * (id + 1))


def test_the_file_is_its_owner_s_alone_whatever_the_umask(handle: int, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Journal(handle).close()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / journal.NAME).stat().st_mode) == 0o600


def test_a_second_journal_in_a_folder_is_refused(handle: int) -> None:
    with Journal(handle), pytest.raises(SessionError, match="cannot be opened: File exists"):
        Journal(handle)


def test_a_planted_link_is_not_followed(handle: int, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious\n")
    (tmp_path / journal.NAME).symlink_to(target)
    for new in (True, False):
        with pytest.raises(SessionError, match="cannot be opened"):
            Journal(handle, new=new)
    with pytest.raises(SessionError, match="cannot be read"):
        journal.read(tmp_path)
    assert target.read_text() == "precious\n"


def test_a_pipe_in_place_of_the_journal_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / journal.NAME)
    with pytest.raises(SessionError, match="not a plain file"):
        journal.read(tmp_path)


def test_one_writer_at_a_time_and_the_lock_goes_with_it(handle: int, tmp_path: Path) -> None:
    with Journal(handle):
        assert is_locked(tmp_path)
        with pytest.raises(BlockingIOError):
            Journal(handle, new=False)
    assert not is_locked(tmp_path)
    Journal(handle, new=False).close()


HOLD = """
import os, sys
from rlm.sessions.journal import Journal
journal = Journal(os.open(sys.argv[1], os.O_RDONLY))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_of_another_process_is_seen_and_dies_with_it(handle: int, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert is_locked(tmp_path)
        with pytest.raises(BlockingIOError):
            Journal(handle, new=False)
        other.kill()
        other.wait()
    assert not is_locked(tmp_path)
    Journal(handle, new=False).close()


def test_a_program_started_while_a_journal_is_open_does_not_keep_its_lock(handle: int, tmp_path: Path) -> None:
    writer = Journal(handle)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        writer.close()
        assert not is_locked(tmp_path)
        child.kill()


@pytest.mark.parametrize("text", ["\ud800", "x\udfff", "😀\ud83d", "\x00\x1b\u2028\x85\r"])
def test_any_text_is_one_line_and_is_read_back(text: str) -> None:
    data = line_of(record(0, text))
    assert data.count(b"\n") == 1
    assert parse(data).records == (record(0, text),)


def test_readable_text_stays_readable() -> None:
    assert "snow ☃".encode() in line_of(RECORD)


def test_a_torn_line_is_distinguished_from_damage_in_the_middle() -> None:
    good = line_of(record(0))
    assert parse(good + b'{"type"') == Reading((record(0),), len(good), 7)
    assert parse(good + b"\x00" * 20 + b"\n") == Reading((record(0),), len(good), 21)
    assert parse(good + b"garbage\n" + line_of(record(1))).damaged == (2,)
    assert parse(b"") == Reading(())


@pytest.mark.parametrize(
    "bad", ["[]", "null", "7", '{"id": 1}', '{"type": "x"}', '{"type": "x", "id": true}', "[" * 9_999]
)
def test_a_line_that_is_not_a_record_is_damage(bad: str) -> None:
    assert parse(bad.encode() + b"\n" + line_of(record(1))) == Reading(
        (record(1),), len(bad) + 1 + len(line_of(record(1))), 0, (1,)
    )


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_reading_fail(data: bytes) -> None:
    reading = parse(line_of(RECORD) + data)
    assert reading.records[0] == RECORD
    assert reading.valid + reading.torn == len(line_of(RECORD)) + len(data)


def test_a_torn_line_is_never_joined_to_the_next_one(handle: int, tmp_path: Path) -> None:
    (tmp_path / journal.NAME).write_bytes(line_of(record(0)) + line_of(record(1))[:-1])  # only the newline is missing
    with Journal(handle, new=False) as writer:
        writer.cut(writer.read().valid)
        writer.append(record(2))
    assert journal.read(tmp_path).records == (record(0), record(2))


def test_after_a_failed_write_nothing_of_it_is_left_and_no_other_write_is_accepted(handle: int, tmp_path: Path) -> None:
    """A limit of file sizes stops the write half way, as a full disk would."""
    code = f"""
import os, resource
from rlm.errors import SessionError
from rlm.sessions.journal import Journal
from rlm.sessions.records import ErrorRecord
journal = Journal({handle})
record = {RECORD!r}
journal.append(record)
size = os.stat({str(tmp_path / journal.NAME)!r}).st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
for attempt in range(2):
    try:
        journal.append(record)
    except SessionError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    done = subprocess.run([sys.executable, "-c", code], pass_fds=[handle], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == 2 * [
        "The session cannot be written: File too large. Allow larger files (ulimit -f) and resume it."
    ]
    assert journal.read(tmp_path) == Reading((RECORD,), len(line_of(RECORD)))
