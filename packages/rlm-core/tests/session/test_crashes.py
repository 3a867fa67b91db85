"""Sessions survive a kill at every byte, and a disk that fails at every system call."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rlm.sessions import Session, journal
from rlm.sessions.store import list_sessions
from rlm_testkit.crash import check_resumes, check_torn, eventful, kill_at
from rlm_testkit.journals import KEY, session_folder

HERE = Path(__file__).parent


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory if there is one, because thousands of sessions are stored in it."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


def test_killed_at_any_byte_it_resumes_and_loses_at_most_its_last_record(memory: Path) -> None:
    """The journal is read after a cut at every byte. It is resumed after cuts at the ends of all records and at some
    bytes within each: resuming depends on the length of the torn end, not on its content.
    """
    with Session.create(Path("home"), model="m", cwd=memory, prompt="p", key=KEY) as session:
        running = (session.folder / "meta.json").read_text()
        eventful(session)
    whole = (session.folder / journal.NAME).read_bytes()
    check_torn(whole)
    ends = [0, *(place + 1 for place, byte in enumerate(whole) if byte == ord("\n"))]
    near = {end + by for end in ends for by in (-1, 0, 1)}
    sizes = sorted(near.union(range(0, len(whole), 23)).intersection(range(len(whole) + 1)))
    assert kill_at(session.folder, sizes, running) > 10 * len(ends)


WRITE = """
import sys
from pathlib import Path
from rlm.core.events import Failed
from rlm_testkit.journals import KEY
from rlm.sessions import Session
session = Session.create(Path("home"), model="m", cwd=Path(sys.argv[1]), prompt="p", key=KEY)
for number in range(10**6):
    session.record(Failed("x" * 300_000))
    print(number, flush=True)
"""


def test_killed_for_real_while_it_writes_it_keeps_every_record_that_it_reported(tmp_path: Path) -> None:
    rounds = random.Random(7)
    for number in range(6):
        cwd = tmp_path / str(number)
        cwd.mkdir()
        environment = dict(os.environ)
        with subprocess.Popen(
            [sys.executable, "-c", WRITE, cwd], stdout=subprocess.PIPE, text=True, env=environment
        ) as writer:
            assert writer.stdout is not None
            reported = [int(line) for line in itertools.islice(writer.stdout, rounds.randint(5, 40))]
            writer.kill()
            reported += [int(line) for line in writer.stdout.read().splitlines()]
        reading = journal.read(session_folder(cwd / "home"))
        assert len(reported) <= len(reading.records) <= len(reported) + 1
        assert reading.damaged == ()
        (listed,) = list_sessions(cwd / "home")
        assert listed.meta.status == "lost"
        check_resumes(cwd / "home", torn=reading.torn > 0)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`failing.c`, compiled."""
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is needed to let a disk fail: install gcc"
    library = tmp_path_factory.mktemp("disk") / "failing.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "failing.c", "-ldl"], check=True)
    return library


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_disk_that_fails_at_any_call_is_reported_and_no_record_is_lost(
    tmp_path: Path, disk: Path, error: int, forever: bool
) -> None:
    done = subprocess.run(
        [sys.executable, HERE / "failing_disk.py", disk, tmp_path, str(error), str(int(forever))],
        env=os.environ | {"LD_PRELOAD": str(disk), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["calls"] > 50
    assert all(os.strerror(error) in reason for reason in outcome["errors"] if reason)


SYNCS = """
import ctypes
import sys
from pathlib import Path
from rlm_testkit.journals import KEY, opening
from rlm.core.events import RequestStarted
from rlm.sessions import Session
disk = ctypes.CDLL(sys.argv[1])
with Session.create(Path("home"), model="m", cwd=Path(sys.argv[2]), prompt="p", key=KEY) as session:
    for event in opening("task"):
        session.record(event)
    for _ in range(2):
        disk.arm(10**6, 0, 0)
        session.record(RequestStarted())
        print(disk.disarm())
"""


def test_the_journal_is_synced_once_before_a_request_is_sent(tmp_path: Path, disk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SYNCS, disk, tmp_path],
        env=os.environ | {"LD_PRELOAD": str(disk)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "0"], "one sync, and none if there is no new record"


def test_a_full_disk_ends_the_run_with_a_clear_message(tmp_path: Path) -> None:
    """A real disk of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    code = f"""
import subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", {str(disk)!r}], check=True)
from pathlib import Path
from rlm.core.events import Failed
from rlm.sessions import Session
from rlm.sessions.store import read_tree
try:
    with Session.create(Path({str(disk / "home")!r}), model="m", cwd=Path("/"), prompt="p") as session:
        while True:
            session.record(Failed("x" * 3_000))
except Exception as error:
    tree = read_tree(session.folder)
    records = tree.records()
    print(type(error).__name__, error, tree.meta.status, len([*records]) > 5, records.torn, sep="|")
"""
    namespace = [
        "unshare",
        "--mount",
        "--map-root-user",
        "--user",
    ]  # in its own namespace an ordinary user may mount, too
    done = subprocess.run([*namespace, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kind, reason, status, several, torn = done.stdout.strip().split("|")
    assert (kind, several, torn) == ("SessionError", "True", "0")
    assert reason == "The session cannot be written: No space left on device. Free disk space and resume it."
    assert status in ("error", "lost")
