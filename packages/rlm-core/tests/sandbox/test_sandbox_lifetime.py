"""However and whenever a sandbox or its host ends: no process is left, and nothing hangs."""

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
    """Processes with this word on their command line; each bwrap has the path of the project there."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(word in argument for argument in words):
            found.append(process)
    return found


def test_nothing_is_left_of_a_host_that_is_killed_at_any_moment_of_a_start(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "run").mkdir()
    for moment in range(MOMENTS):
        with subprocess.Popen([sys.executable, sandbox_host.__file__, str(tmp_path)], stdout=subprocess.PIPE) as host:
            assert host.stdout is not None
            assert b"ready\n" == host.stdout.readline()
            time.sleep(0.1 * moment / MOMENTS)  # chooses the moment of the kill; it does not wait for anything
            host.kill()
    until(lambda: not with_word(str(tmp_path)), lambda: str(with_word(str(tmp_path))))


def test_a_run_that_is_cancelled_at_any_await_ends_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, cancelled_run.__file__, str(tmp_path)], capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()
    reported = json.loads(done.stdout)
    assert reported["awaits"] >= 10
    assert [] == reported["faults"]
