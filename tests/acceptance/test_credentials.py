"""Only one process has the provider's key: its child processes do not get it, and no other process can read it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, hang, text

KEY = "sk-secret-0123456789abcdef"

Make = Callable[[Scripted], Rlm]

pytestmark = pytest.mark.attack("getting at the key")


@contextmanager
def running(make: Make, *answers: Answer, **env: str) -> Iterator[tuple[psutil.Process, Scripted]]:
    """A run that waits for its last reply."""
    with Scripted(*answers, hang()) as server:
        command = make(server)
        process = replace(command, environment={**command.environment, "RLM_API_KEY": KEY, **env}).start("go")
        try:
            server.wait(lambda server: len(server.requests) == len(answers) + 1)
            yield psutil.Process(process.pid), server
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.mark.parametrize("sandbox", ["off", "bwrap"])
def test_no_child_process_has_the_key(rlm: Make, sandbox: str) -> None:
    cell = "import subprocess\nsubprocess.Popen(['sleep', '600'])\nprint('up')"
    answers = [call("ipython", code=cell), call("bash", command="sleep 600 & echo up")]
    with running(rlm, *answers, RLM_TOOLS="ipython,bash", RLM_SANDBOX=sandbox) as (run, server):
        below = run.children(recursive=True)
        folders = [Path("/proc", str(process.pid)) for process in below]
        holding = [
            path for folder in folders for path in (folder / "environ", folder / "cmdline") if KEY in _text(path)
        ]
        started = [_text(folder / "cmdline") for folder in folders]
    assert f"Bearer {KEY}" == server.requests[0].headers["authorization"]
    for program in ("sleep", "rlm.inside.zygote", "process_tree.py"):
        assert any(program in words for words in started)
    assert [] == holding


def _text(path: Path) -> str:
    """The text of a file; empty if this user may not read it, as no cell may, or if the process has ended."""
    with suppress(PermissionError, ProcessLookupError, FileNotFoundError):
        return path.read_bytes().decode(errors="replace")
    return ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything; the unprivileged run covers it")
def test_no_other_process_of_the_user_can_read_the_key_from_rlm(rlm: Make) -> None:
    with running(rlm, call("ipython", code="1")) as (run, _):
        for name in ("environ", "mem", "maps"):
            with pytest.raises(PermissionError), Path("/proc", str(run.pid), name).open("rb"):
                pass


def test_a_child_and_its_commands_do_not_have_it_either(rlm: Make) -> None:
    """The whole environment of a child's cell, and of a command in it."""

    def script(request: Request) -> Answer:
        code = "import os\nprint(dict(os.environ))\n!env\n" if request.depth else "r = await rlm.run('a')"
        return call("ipython", code=code) if request.turn == 0 else text("end")

    with Scripted(script) as server:
        plain = rlm(server)
        command = replace(plain, environment={**plain.environment, "RLM_API_KEY": KEY, "OTHER": f"x{KEY}x"})
        done = command("go", RLM_MAX_DEPTH="1")
    (child,) = done.session.children
    assert "HOME" in child.results[0]
    assert "RLM_API_KEY" not in child.results[0]
    assert "OTHER" not in child.results[0]


def test_a_placeholder_for_a_key_is_not_redacted(rlm: Make) -> None:
    cell = "import os\nprint('3 tests passed')\nprint(os.environ['PATH'])"
    with Scripted(call("ipython", code=cell), text("end")) as server:
        done = rlm(server)("go", RLM_API_KEY="test", PATH=f"/opt/test:{os.environ['PATH']}")
    (result,) = done.session.results
    assert result.startswith("3 tests passed\n/opt/test:")
    assert "Bearer test" == server.requests[0].headers["authorization"]


def test_the_key_is_nowhere_in_the_output_and_files_of_a_run(rlm: Make, tmp_path: Path) -> None:
    """A cell finds the key in a file, raw and encoded, and the provider's error repeats it."""
    (tmp_path / "env").write_text(f"{KEY}\n{base64.b64encode(f'me:{KEY}'.encode()).decode()}\n")
    refusal = error(400, f"bad header 'Bearer {KEY}'")
    with Scripted(call("ipython", code=f"print(open({str(tmp_path / 'env')!r}).read())"), refusal) as server:
        done = rlm(server)("go", "--json", RLM_API_KEY=f" {KEY}\n")
    written = done.out + done.err + "".join(path.read_text() for path in done.session.folder.rglob("*.json*"))
    assert "[redacted]" in done.session.results[0]
    assert "bad header 'Bearer [redacted]'" in done.err
    assert KEY not in written
    assert base64.b64encode(f"me:{KEY}".encode()).decode() not in written


def test_an_invalid_key_is_refused_before_anything_starts(rlm: Make) -> None:
    with Scripted() as server:
        done = rlm(server)("go", RLM_API_KEY=f"“{KEY}”")
    assert 4 == done.code
    assert "RLM_API_KEY is not allowed: it takes printable ASCII" in done.err
    assert KEY not in done.err
    assert [] == done.sessions
