"""RLM_SANDBOX=bwrap: what gets out (nothing), what still works (everything else), and what is said of it.

These tests need bubblewrap: where the system has none they fail, as the sandbox does.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from breakouts import BREAKOUTS, Breakout
from cli import Done, Rlm
from scripted import Request, Scripted, call, text

SECRET = "sk-secret-0123456789abcdef"
LIMITS = {"RLM_SANDBOX_MEMORY": "1000", "RLM_SANDBOX_FILE_SIZE": "50"}

Make = Callable[[Scripted], Rlm]


@pytest.fixture
def boxed(rlm: Make) -> Make:
    """The command in a git repository, with a key, and told to use the sandbox."""

    def make(server: Scripted) -> Rlm:
        bare = rlm(server)
        command = replace(
            bare, environment={**bare.environment, "RLM_SANDBOX": "bwrap", "RLM_API_KEY": SECRET, **LIMITS}
        )
        git(command, "init", "--quiet")
        return command

    return make


def git(command: Rlm, *words: str) -> str:
    identity = ("-c", "user.name=it", "-c", "user.email=it@example.com")
    done = subprocess.run(
        ["git", *identity, *words], cwd=command.cwd, env=command.env(), capture_output=True, check=True
    )
    return done.stdout.decode()


def run_cells(make: Make, cells: list[str], *flags: str, **env: str) -> tuple[Done, list[str]]:
    with Scripted(*(call("ipython", code=cell) for cell in cells), text("end")) as server:
        done = make(server)("go", *flags, timeout=120, RLM_MAX_TURNS="200", **env)
    assert 0 == done.code, done.err
    return done, done.session.results


# ---- breaking out


@contextmanager
def machine(command: Rlm, folder: Path) -> Iterator[dict[str, object]]:
    """What there is to be had: a secret in the home, another program's folder and sockets."""
    planted = Path(command.env()["HOME"]) / ".ssh" / "id_ed25519"
    planted.parent.mkdir(parents=True)
    planted.write_text(f"private {SECRET}")
    tmp = folder / "other"
    tmp.mkdir()
    (tmp / "file").touch()
    with _listening(socket.AF_UNIX, str(tmp / "socket")), _listening(socket.AF_UNIX, f"\0{tmp}"):
        with _listening(socket.AF_INET, ("127.0.0.1", 0)) as port:
            yield {"SECRET": SECRET, "PLANTED": str(planted), "TMP": str(tmp), "PORT": port}


@contextmanager
def _listening(family: socket.AddressFamily, address: object) -> Iterator[object]:
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        yield server.getsockname()[1] if family == socket.AF_INET else address


def attempt(breakout: Breakout) -> str:
    body = breakout.code.replace("\n", "\n    ")
    return f"got = None\ntry:\n    {body}\nexcept BaseException as e:\n    print('denied', type(e).__name__)\nelse:\n    print('got it' if got else 'denied')"


def outcomes(make: Make, folder: Path, breakouts: list[Breakout], **env: str) -> dict[str, str]:
    """By name, the last word on each. HOST is found by the test: rlm itself, whose id a cell could guess."""
    cells = [attempt(breakout) for breakout in breakouts]

    def script(request: Request):
        turn = request.turn
        if request.depth:
            return text("a child's answer")
        if turn == 0:
            return call("ipython", code="\n".join(f"{name} = {value!r}" for name, value in facts.items()))
        return call("ipython", code=cells[turn - 1]) if turn <= len(cells) else text("end")

    with Scripted(script) as server:
        command = make(server)
        with machine(command, folder) as facts:
            process = command.start("go", RLM_MAX_TURNS="200", RLM_MAX_DEPTH="1", **env)
            facts["HOST"] = process.pid
            _, err = process.communicate(timeout=120)
        done = Done(process.returncode, "", err.decode(), command.cwd)
    assert 0 == done.code, done.err
    results = done.session.results[1:]
    return {breakout.name: said.strip().splitlines()[-1] for breakout, said in zip(breakouts, results, strict=True)}


def test_nobody_breaks_out(boxed: Make, tmp_path: Path) -> None:
    seen = outcomes(boxed, tmp_path, list(BREAKOUTS))
    assert len(seen) >= 25
    assert [] == [f"{name}: {said}" for name, said in seen.items() if not said.startswith("denied")]


def test_without_the_sandbox_the_same_attempts_succeed(boxed: Make, tmp_path: Path) -> None:
    tried = [breakout for breakout in BREAKOUTS if breakout.bare]
    seen = outcomes(boxed, tmp_path, tried, RLM_SANDBOX="off")
    assert [] == [f"{name}: {said}" for name, said in seen.items() if said != "got it"]
