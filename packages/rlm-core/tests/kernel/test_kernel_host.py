"""A host reads output without delay, needs little memory, and leaves nothing behind even if it is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rlm_testkit import kernel_host
from rlm_testkit.leftovers import started_with
from rlm_testkit.waiting import until


class Host:
    """A host process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, kernel_host.__file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, *what: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def descendants(self) -> list[psutil.Process]:
        """Its zygote, and the live processes that its kernels started, including detached ones."""
        started = started_with("HOST_TEST", str(self.folder))
        return [process for process in started if process.pid != self.process.pid]


@pytest.fixture
def host(folder: Path) -> Iterator[Host]:
    own_folder = folder / str(len(list(folder.iterdir())))
    own_folder.mkdir()
    host = Host(own_folder)
    yield host
    host.process.kill()
    host.process.wait()
    for pipe in (host.process.stdin, host.process.stdout):
        assert pipe
        pipe.close()


def test_a_killed_host_leaves_no_process(host: Host) -> None:
    host.send("run", "import os, subprocess", 30)
    host.send("run", "!setsid sleep 66 & (trap '' TERM HUP INT; sleep 66) &", 30)
    host.send("run", "p = subprocess.Popen(['setsid', 'sleep', '66'])", 30)
    assert host.process.stdin
    host.process.stdin.write(json.dumps(["run", "while True: pass", 60]) + "\n")
    host.process.stdin.flush()
    processes = host.descendants()
    assert len(processes) >= 4
    host.process.send_signal(signal.SIGKILL)
    until(lambda: not host.descendants(), host.descendants)


def test_a_host_that_ends_leaves_no_process_and_no_file(host: Host) -> None:
    host.send("run", "!sleep 67 &", 30)
    assert host.process.stdin
    host.process.stdin.close()
    assert host.process.wait(30) == 0
    assert not host.descendants()
    assert list(host.folder.iterdir()) == []


def test_a_stalled_host_loses_nothing(host: Host) -> None:
    code = "import sys\nfor n in range(20_000):\n    print(n)\n    sys.stdout.flush()"
    host.send("stalled run", code, 0.5)
    (whole,) = (host.folder / "outputs").iterdir()
    assert whole.read_text() == "".join(f"{n}\n" for n in range(20_000))


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("for _ in range(3_000): print('x' * 99_999)", 300_000_000),
        ("print('x' * 150_000_000)", 150_000_001),
        ("'x' * 150_000_000", 150_000_003),
        ("import os\nos.system('head -c 150000000 /dev/zero | tr \"\\\\0\" x');", 150_000_000),
    ],
)
def test_hundreds_of_megabytes_cost_the_host_less_than_sixty(host: Host, code: str, size: int) -> None:
    host.send("run", "1", 30)
    before = host.send("rss")
    output = host.send("run", code, 600)
    assert "characters left out; the full text is in" in output
    assert len(output) < 21_000
    assert host.send("peak") - before < 60_000_000
    (whole,) = (host.folder / "outputs").iterdir()
    assert whole.stat().st_size == size
    whole.unlink()


def test_a_thread_that_prints_for_ever_between_cells_costs_no_memory(host: Host) -> None:
    host.send("run", "import threading\nstop = threading.Event()", 30)
    before = host.send("rss")
    code = "def flood():\n    while not stop.is_set(): print('y' * 1_000)\nthreading.Thread(target=flood).start()"
    host.send("run", code, 30)
    time.sleep(2)  # the flood must run for a while
    output = host.send("run", "stop.set()\nprint('still here')", 30)
    assert "still here" in output.rpartition("[this cell]")[2]
    assert host.send("peak") - before < 60_000_000
