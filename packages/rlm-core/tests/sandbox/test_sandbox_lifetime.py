"""A sandbox from start to end: whoever ends it or us, and whenever, nothing is left, and nobody waits for ever."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
from rlm_testkit import cancelled_run, sandbox_host
from rlm_testkit.waiting import until

MOMENTS = 30


def with_word(word: str) -> list[psutil.Process]:
    """Processes that have it in their command line, as each bwrap has the path of the project."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(word in said for said in words):
            found.append(process)
    return found


def test_nothing_is_left_of_a_host_that_is_killed_at_any_moment_of_a_start(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "run").mkdir()
    for moment in range(MOMENTS):
        with subprocess.Popen([sys.executable, sandbox_host.__file__, str(tmp_path)], stdout=subprocess.PIPE) as host:
            assert host.stdout is not None
            assert b"ready\n" == host.stdout.readline()
            time.sleep(0.1 * moment / MOMENTS)  # the moment, not a wait
            host.kill()
    until(lambda: not with_word(str(tmp_path)), lambda: str(with_word(str(tmp_path))))


def test_a_run_that_is_cancelled_at_any_await_ends_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, cancelled_run.__file__, str(tmp_path)], capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()
    reported = json.loads(done.stdout)
    assert reported["awaits"] >= 10
    assert [] == reported["faults"]
