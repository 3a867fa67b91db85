"""`rlm batch --executor ray` on a real cluster of two nodes: whatever is lost, every task ends once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rlm_testkit import ray_cluster
from rlm_testkit.cli import Rlm
from rlm_testkit.found_uv import UV
from rlm_testkit.scripted import Answer, Request, Scripted, call, text
from rlm_testkit.waiting import until

ROOT = Path(__file__).parents[2]
KEY = "sk-ray-0123456789abcdef"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python that has rlm and ray: as uv.lock says, or the version that TEST_RAY names."""
    environment = tmp_path / "environment"
    found = environment / "bin" / "python"
    _install("sync", "--frozen", "--no-dev", "--extra", "ray", "--python", sys.executable, into=environment)
    if version := os.environ.get("TEST_RAY"):
        _install("pip", "install", "--python", str(found), f"ray=={version}", into=environment)
    return found


def _install(*words: str, into: Path) -> None:
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(into)}
    command = [str(UV), *words, "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"RAY IS NOT TESTED: it cannot be installed here: {done.stderr.strip()[-300:]}")


@pytest.fixture
def place() -> Iterator[Path]:
    """For Ray's files: sockets are among them, so its path is short."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Gated:
    """Tasks are answered by their numbers as far as `open`."""

    def __init__(self) -> None:
        self.open = 2
        self.asked: Counter[int] = Counter()

    def __call__(self, request: Request) -> Answer:
        number = int(request.task.split()[1])
        if request.turn == 0:
            self.asked[number] += 1
            return call(
                "ipython",
                code="import os\nprint(sorted(name for name in os.environ if 'RLM' in name or 'API' in name))",
            )
        return replace(text(f"{number} {request.last.strip()}"), gate=lambda _: number < self.open)


def workers() -> list[psutil.Process]:
    """The processes that work on tasks."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [""])[0].startswith("ray::RayWorker"):
            found.append(process)
    return found


def results(folder: Path) -> list[int]:
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted(json.loads(line)["id"] for line in lines)


def test_every_task_ends_once_whatever_is_lost(python: Path, place: Path, tmp_path: Path) -> None:
    token = place / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": str(place)}
    gated = Gated()
    with Scripted(gated, strict=False) as server:
        variables = {"RLM_BASE_URL": server.url, "RLM_MODEL": "scripted", "RLM_API_KEY": KEY}
        rlm = replace(Rlm(tmp_path, variables | ray), command=python.with_name("rlm"))
        lines = (json.dumps({"id": n, "prompt": f"task {n}", "verify": "true"}) for n in range(8))
        (rlm.cwd / "tasks.jsonl").write_text("\n".join(lines))
        out = rlm.cwd / "out"
        with subprocess.Popen(
            [str(python), ray_cluster.__file__],
            env=rlm.env(RAY_ENABLE_UV_RUN_RUNTIME_ENV="0"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as cluster:
            assert cluster.stdin is not None
            assert cluster.stdout is not None
            try:
                address = cluster.stdout.readline().strip()
                ways = ("--executor", "ray", "--address", address)
                with rlm.start("batch", "tasks.jsonl", "-o", "out", "-j", "4", *ways) as running:
                    until(lambda: results(out) == [0, 1] and len(gated.asked) == 6, lambda: (results(out), gated.asked))
                    assert len(workers()) == 2
                    workers()[0].kill()
                    until(lambda: sum(gated.asked[n] for n in range(2, 6)) >= 6)  # the two that it had begin again
                    gated.open = 3
                    until(lambda: results(out) == [0, 1, 2])
                    cluster.stdin.write("remove\n")
                    cluster.stdin.flush()
                    gated.open = 7  # the worker that is left has two places, and one of them may have the last task
                    until(lambda: len(results(out)) == 7, lambda: (results(out), gated.asked))
                    running.send_signal(signal.SIGINT)
                    until(lambda: running.poll() is not None)
                    assert running.returncode == 130
                    assert running.stderr is not None
                    assert b"To continue: rlm batch --resume" in running.stderr.read()
                until(lambda: not workers())

                with rlm.start("batch", "--resume", "out", "--address", address) as running:
                    asked = gated.asked[7]
                    until(lambda: gated.asked[7] > asked)
                    running.send_signal(signal.SIGKILL)
                until(lambda: not workers())

                gated.open = 8
                done = rlm("batch", "--resume", "out", "--address", address, timeout=300)
                assert done.code == 0, done.err
                assert results(out) == list(range(8))
            finally:
                cluster.stdin.close()
                cluster.wait()
    for line in map(json.loads, (out / "results.jsonl").read_text().splitlines()):
        assert line["answer"] == f"{line['id']} ['RLM_BROKER', 'RLM_MARK', 'RLM_SKILL_CALLS_LOG']"
        assert line["reward"] == 1.0
        assert Path(line["session_dir"]).parent == out / "sessions"
    listed = rlm("ls", "--home", "out").out
    assert listed.count(" done ") == 8
    assert "foreign" not in listed
    logs = [path for path in place.rglob("*") if path.is_file()]
    assert len(logs) > 10
    assert not [path for path in (*logs, *out.rglob("*")) if path.is_file() and KEY.encode() in path.read_bytes()]
