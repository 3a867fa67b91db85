"""behaviour.md, exit codes: a signal in the first milliseconds ends rlm like one in the middle of a run.

The command is the real one. A finder on its import path, installed by a sitecustomize, sends the signal when the
command begins to import a certain module. So each run is hit at the same point, regardless of the machine's speed.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm_testkit.cli import Rlm
from rlm_testkit.leftovers import nothing_left, scratch
from rlm_testkit.scripted import Scripted, call, text

Make = Callable[[Scripted], Rlm]

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]

FINDER = """
import os, sys

class Finder:
    left = int(os.environ.pop("RLM_TEST_TIMES", 1))
    name = os.environ.pop("RLM_TEST_AT", "")
    number = int(os.environ.pop("RLM_TEST_SIGNAL", 0))

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == cls.name and cls.left:
            cls.left -= 1
            os.kill(os.getpid(), cls.number)

if Finder.name:
    sys.meta_path.insert(0, Finder)
"""

POINTS = [
    "rlm.config",
    "rlm.core.exit_codes",
    "rlm.cli.arguments",
    "rlm.cli.output",
    "rlm.cli.oneshot",
    "asyncio",
    "rlm.cli.reporter",
    "rlm.host.run",
    "rlm.cli.signals",
    "rlm.present.live",
    "openai",
    "openai._client",
    "rlm.kernel.channels",
]
"""From the first module that `main` imports to the one that a kernel's first message requires."""


@pytest.mark.parametrize("point", POINTS)
def test_a_signal_at_any_point_of_the_start_leaves_nothing(rlm: Make, tmp_path: Path, point: str) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(FINDER)
    with (
        Scripted(lambda request: text("end") if request.turn else call("ipython", code="1")) as server,
        scratch() as temporary,
    ):
        for number, code in SIGNALS:
            command = rlm(server)
            env = {"PYTHONPATH": str(tmp_path), "RLM_TEST_AT": point, "RLM_TEST_SIGNAL": str(int(number))}
            process = command.start("go", **env, TMPDIR=str(temporary))
            out, err = process.communicate(timeout=60)
            assert code == process.returncode, err
            assert b"" == out
            assert b"Traceback" not in err
            assert b"Exception ignored" not in err
            nothing_left(command, temporary)
            for row in command("ls", "--json").lines:
                assert row["status"] in {"cancelled"}


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_doctor_closes_everything_that_it_opens(
    rlm: Make, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(FINDER)
    with Scripted(text("never"), models=["scripted"]) as server, scratch() as temporary:
        command = rlm(server)
        env = {"PYTHONPATH": str(tmp_path), "RLM_TEST_AT": "rlm.kernel.channels", "RLM_TEST_SIGNAL": str(int(number))}
        process = command.start("doctor", **env, TMPDIR=str(temporary))
        _, err = process.communicate(timeout=60)
        assert (code, b"") == (process.returncode, err)
        nothing_left(command, temporary)


def test_signals_that_nohup_ignores_are_ignored_from_the_start(without_tools: Make, tmp_path: Path) -> None:
    tmp_path.joinpath("sitecustomize.py").write_text(FINDER)
    with Scripted(text("done")) as server:
        command = without_tools(server)
        env = command.env(PYTHONPATH=str(tmp_path), RLM_TEST_AT="rlm.config", RLM_TEST_SIGNAL=str(int(signal.SIGHUP)))
        done = subprocess.run(
            ["nohup", str(command.command), "go"],
            cwd=command.cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    assert (0, b"done\n") == (done.returncode, done.stdout)
