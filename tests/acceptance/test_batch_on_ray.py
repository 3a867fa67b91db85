"""`rlm batch --executor ray` on a real cluster of two nodes: whatever is lost, every task ends once.

One test uses one cluster for everything, because its start takes as long as the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest
from rlm_testkit import ray_cluster
from rlm_testkit.cli import Rlm
from rlm_testkit.found_uv import UV
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, text
from rlm_testkit.waiting import until

ROOT = Path(__file__).parents[2]
KEY = "sk-ray-0123456789abcdef"
TOKEN = "0123456789abcdef0123456789abcdef"
FEWER = b"(429 Too Many Requests): 1 at once"
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python with rlm and ray: in the version of uv.lock, or the one that TEST_RAY names."""
    environment = tmp_path / "environment"
    found = environment / "bin" / "python"
    rlm = ("sync", "--frozen", "--no-dev", "--python", sys.executable)
    assert not _problem(*rlm, into=environment)
    problem = _problem(*rlm, "--extra", "ray", into=environment)
    if not problem and (version := os.environ.get("TEST_RAY")):
        problem = _problem("pip", "install", "--python", str(found), f"ray=={version}", into=environment)
    if problem:
        pytest.skip(f"NOT TESTED on Ray, which cannot be installed here: {problem}")
    return found


def _problem(*words: str, into: Path) -> str:
    """The reason why uv could not install it; empty if it could."""
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(into)}
    command = [str(UV), *words, "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.stderr.strip()[-300:] or f"exit code {done.returncode}" if done.returncode else ""


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for the files of Ray and of the workers. Its path is short, because sockets are among them."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Model:
    """Answers each task with its number and with what its cell printed; `held` tasks get no answer."""

    refused: Callable[[], bool]
    """Whether the request limiter knows about the refusal."""
    held: set[int] = field(default_factory=lambda: {2, 3})
    broken: set[int] = field(default_factory=lambda: {4})
    asked: Counter[int] = field(default_factory=Counter)
    kernels: list[tuple[int, int]] = field(default_factory=list)
    """Pairs of a task and the process of its cell."""

    def __call__(self, request: Request) -> Answer:
        number = int(request.task.split()[1])
        if request.turn == 0:
            self.asked[number] += 1
            return self._begin(number)
        kernel, answer = request.last.strip().split(" ", 1)
        self.kernels.append((number, int(kernel)))
        return replace(text(f"{number} {answer}"), gate=lambda _: number not in self.held)

    def _begin(self, number: int) -> Answer:
        cell = "print(os.getpid(), sorted(name for name in os.environ if 'RLM' in name or 'API' in name))"
        answer = call("ipython", code=f"import os\n{cell}")
        if number in self.broken:
            return error(400, "this task is broken")
        if number == 0 and self.asked[0] == 1:  # while the request of the other worker is in flight, too
            return replace(error(429, "too many requests"), gate=lambda _: self.asked[1])
        return replace(answer, gate=lambda _: self.refused()) if number == 1 else answer


class Cluster:
    """The processes of a cluster."""

    def __init__(self, process: subprocess.Popen[str], model: Model) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        self._process = psutil.Process(process.pid)
        self._model = model
        self.address = process.stdout.readline().strip()

    def remove_node(self) -> None:
        self._input.write("remove\n")
        self._input.flush()

    def workers(self) -> list[psutil.Process]:
        return [each for each in self._processes() if _title(each).startswith("ray::RayWorker")]

    def placed(self) -> dict[int, psutil.Process]:
        """The worker of each task."""
        found: dict[int, psutil.Process] = {}
        workers = self.workers()
        for number, kernel in self._model.kernels:
            with suppress(psutil.NoSuchProcess):
                for worker in set(workers).intersection(psutil.Process(kernel).parents()):
                    found[number] = worker
        return found

    def at_work(self) -> list[psutil.Process]:
        """The workers and all of their descendants."""
        return [each for worker in self.workers() for each in (worker, *worker.children(recursive=True))]

    def memory(self) -> Iterator[bytes]:
        """The memory of Ray's own processes: the cluster's table, with the arguments of actors, and the nodes."""
        for process in self._processes():
            if Path(_title(process)).name in ("gcs_server", "raylet"):
                yield from _memory(process.pid)

    def _processes(self) -> list[psutil.Process]:
        return list(self._process.children(recursive=True))


def lives(process: psutil.Process) -> bool:
    """Zombies do not count: who reaps the children of a killed worker depends on Ray."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return (process.cmdline() or [""])[0]
    return ""


def _memory(pid: int) -> Iterator[bytes]:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            if rights == "rw-p":
                start, end = (int(number, 16) for number in area.split("-"))
                memory.seek(start)
                with suppress(OSError):  # it has ended meanwhile
                    yield memory.read(end - start)


@contextmanager
def cluster_of_two(python: Path, rlm: Rlm, ray_folder: Path, model: Model) -> Iterator[Cluster]:
    """The cluster requires a token and sends no usage data. Workers are not killed if memory is low, and have normal
    priority.
    """
    variables = {
        "TMPDIR": str(ray_folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_worker_niceness": "0",
    }
    errors = (ray_folder / "cluster-errors").open("wb+")
    with (
        errors,
        subprocess.Popen(
            [str(python), ray_cluster.__file__],
            env=rlm.env(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        cluster = Cluster(process, model)
        assert cluster.address, (ray_folder / "cluster-errors").read_text()[-2000:]
        try:
            yield cluster
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


@contextmanager
def started(rlm: Rlm, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running command, killed at the end even if the test fails."""
    with rlm.start(*words) as running:
        try:
            yield running
        finally:
            running.kill()


def results(folder: Path) -> list[int]:
    """The ids of the finished tasks."""
    path = folder / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return sorted(line["id"] for line in lines if line["status"] == "done")


def holding(folder: Path, words: bytes) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if words in path.read_bytes()]


def test_every_task_ends_once_whatever_is_lost(python: Path, ray_folder: Path, tmp_path: Path) -> None:
    token = ray_folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": str(ray_folder)}
    model = Model(
        lambda: any(FEWER in path.read_bytes() for path in ray_folder.glob("rlm-*/batch/sessions/*/messages.jsonl"))
    )
    with Scripted(model, strict=False) as server:
        nodes = Rlm(tmp_path / "nodes", ray)  # no key, and a separate home
        variables = {"RLM_BASE_URL": server.url, "RLM_MODEL": "scripted", "RLM_API_KEY": KEY}
        rlm = Rlm(tmp_path, ray | variables, command=python.with_name("rlm"))
        lines = (json.dumps({"id": n, "prompt": f"task {n}", "verify": "true"}) for n in range(5))
        (rlm.cwd / "tasks.jsonl").write_text("\n".join(lines))
        out = rlm.cwd / "out"
        with cluster_of_two(python, nodes, ray_folder, model) as cluster:
            where = ("--executor", "ray", "--address", cluster.address)
            with started(rlm, "batch", "tasks.jsonl", "-o", "out", "-j", "2", *where) as running:
                # one request of each worker; the refusal of one lowers the limit of both, see `Model`
                until(lambda: set(cluster.placed()) == {2, 3}, lambda: (results(out), model.asked))
                assert results(out) == [0, 1]
                assert len(set(cluster.placed().values())) == 2
                lost, worker = cluster.placed().popitem()
                worker.kill()
                until(lambda: cluster.placed().get(lost, worker) != worker)
                assert set(cluster.placed()) == {2, 3}

                cluster.remove_node()
                until(lambda: len(cluster.placed()) == 1)
                (kept,) = cluster.placed()
                (lost,) = {2, 3} - {kept}
                model.held.remove(kept)
                until(lambda: set(cluster.placed()) == {lost} and results(out) == [0, 1, kept])
                at_work = cluster.at_work()
                running.send_signal(signal.SIGKILL)
            until(lambda: not any(map(lives, at_work)))
            assert sum(model.asked[n] for n in (2, 3)) == 4

            model.held = {4}
            model.broken.clear()
            with started(rlm, "batch", "--resume", "out", "--address", cluster.address) as running:
                until(lambda: results(out) == [0, 1, 2, 3] and set(cluster.placed()) == {4})
                assert not any(KEY.encode() in memory for memory in cluster.memory())
                at_work = cluster.at_work()
                running.send_signal(signal.SIGINT)
                running.wait()
                assert running.returncode == 130
                assert running.stderr is not None
                assert b"To continue: rlm batch --resume" in running.stderr.read()
            until(lambda: not any(map(lives, at_work)))

            token.write_text(TOKEN[::-1])
            refused = rlm("batch", "tasks.jsonl", "-o", "other", *where, RAY_NUM_REDIS_GET_RETRIES="1")
            assert refused.code == 2, refused.err
            assert "refuses the token. Set RAY_AUTH_MODE=token" in refused.err
    for line in map(json.loads, (out / "results.jsonl").read_text().splitlines()):
        if line["id"] == 4:
            continue  # task 4 failed, tasks 2 and 3 were cancelled
        assert line["answer"] == f"{line['id']} ['RLM_BROKER', 'RLM_MARK', 'RLM_SKILL_CALLS_LOG']"
        assert line["reward"] == 1.0
        assert Path(line["session_dir"]).parent == out / "sessions"
    assert holding(out, FEWER)
    listed = rlm("ls", "--home", "out").out
    assert listed.count(" done ") == 4
    assert "foreign" not in listed
    assert len(list(ray_folder.glob("ray/session_*/logs/*"))) > 10
    assert not holding(ray_folder, KEY.encode())
    assert not holding(out, KEY.encode())
