"""The provider's key stays in one process: nothing that it starts has it, and no other can read it there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from cli import Rlm
from scripted import Request, Scripted, call, hang, text

KEY = "sk-secret-0123456789abcdef"

Make = Callable[[Scripted], Rlm]


@contextmanager
def running(make: Make, *answers: object, **env: str) -> Iterator[tuple[psutil.Process, Scripted]]:
    """A run that waits for its last reply."""
    with Scripted(*answers, hang()) as server:
        made = make(server)
        process = replace(made, environment={**made.environment, "RLM_API_KEY": KEY, **env}).start("go")
        try:
            server.wait(lambda server: len(server.requests) == len(answers) + 1)
            yield psutil.Process(process.pid), server
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.mark.parametrize("sandbox", ["off", "bwrap"])
def test_no_process_below_has_the_key(rlm: Make, sandbox: str) -> None:
    cell = "import subprocess\nsubprocess.Popen(['sleep', '600'])\nprint('up')"
    answers = [call("ipython", code=cell), call("bash", command="sleep 600 & echo up")]
    with running(rlm, *answers, RLM_TOOLS="ipython,bash", RLM_SANDBOX=sandbox) as (run, server):
        below = run.children(recursive=True)
        folders = [Path("/proc", str(process.pid)) for process in below]
        holding = [
            path for folder in folders for path in (folder / "environ", folder / "cmdline") if KEY in _text(path)
        ]
        names = {process.name() for process in below}
    assert f"Bearer {KEY}" == server.requests[0].headers["authorization"]
    assert {"sleep", "sh"} <= names
    assert [] == holding


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; the unprivileged run covers it")
def test_no_other_process_of_the_user_can_read_the_key_from_rlm(rlm: Make) -> None:
    with running(rlm, call("ipython", code="1")) as (run, _):
        for name in ("environ", "mem", "maps"):
            with pytest.raises(PermissionError), Path("/proc", str(run.pid), name).open("rb"):
                pass


def test_a_child_and_its_commands_do_not_have_it_either(rlm: Make) -> None:
    """The whole environment of a child's cell and of a command in it."""

    def script(request: Request):
        code = "import os\nprint(dict(os.environ))\n!env\n" if request.depth else "r = await rlm.run('a')"
        return call("ipython", code=code) if request.turn == 0 else text("end")

    with Scripted(script) as server:
        made = rlm(server)
        command = replace(made, environment={**made.environment, "RLM_API_KEY": KEY, "OTHER": f"x{KEY}x"})
        done = command("go", RLM_MAX_DEPTH="1")
    (child,) = done.session.children
    assert "HOME" in child.results[0]
    assert "RLM_API_KEY" not in child.results[0]
    assert "OTHER" not in child.results[0]
