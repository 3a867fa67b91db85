"""Which processes descend from another, also if the main thread of one of them has ended."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rlm.process import process_tree

_EXIT = {"x86_64": 60, "aarch64": 93}.get(platform.machine())

# The main thread ends and another one continues: the process is a zombie that still has its child.
HALF_DEAD = f"""
import ctypes, subprocess, threading, time
print(subprocess.Popen(["sleep", "1000"]).pid, flush=True)
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall({_EXIT}, 0)
"""


@pytest.mark.skipif(sys.platform != "linux" or _EXIT is None, reason="only Linux has /proc, and its numbers vary")
def test_a_child_of_a_process_that_is_half_dead_is_found() -> None:
    process = subprocess.Popen([sys.executable, "-c", HALF_DEAD], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        child = int(process.stdout.readline())
        deadline = time.monotonic() + 60
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [child] == [found.pid for found in process_tree.below(process.pid)]
    finally:
        process_tree.kill(process_tree.below(process.pid))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
