"""Evaluations by the published package verifiers, whose harness `rlm` installs this checkout with its own command.

Each version runs two rollouts, in a separate environment, against a scripted server. The tests need a package index,
and are skipped without one. The first reply of each rollout is lost on its way to rlm. Each takes a minute and uses a
folder in /tmp with a fixed name, so `just trainers` runs them and `pytest` does not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rlm_testkit.found_uv import UV
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
INSTALLED = ("/tmp/vf-rlm", "/tmp/vf-rlm-state", "/tmp/rlm")
"""The harness installs here, regardless of the home: two such tests cannot run at the same time."""
HARNESS = "https://github.com/PrimeIntellect-ai/"
Json = dict[str, Any]

VERSIONS = {
    "0.2.1": ("eval", "--harness.id rlm --harness.runtime.type subprocess --harness.version {commit} -n 2"),
    "0.3.1": ("eval", "--env.agent.harness.id rlm --env.agent.runtime.type subprocess"
                      " --env.agent.harness.version {commit} -n 2"),
    "0.4.0": ("vf-eval", "--env.agent.harness.id rlm --env.agent.runtime.type subprocess"
                         " --env.agent.harness.version {commit} -n 2"),
}  # fmt: skip
"""The command of each version, with its own flags."""


def script(request: Request) -> Answer:
    number = re.search(r"What is (\d+) \+ 40", str(request.messages))
    assert number is not None
    return call("ipython", code=f"{number[1]} + 40") if request.turn == 0 else text(f"It is {request.last.strip()}.")


def run(*words: str, env: dict[str, str], cwd: Path) -> str:
    done = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def free_places() -> Iterator[None]:
    """Remove earlier installations before and after."""

    def clear() -> None:
        for place in INSTALLED:
            shutil.rmtree(place, ignore_errors=True)

    clear()
    yield
    clear()


@pytest.mark.timeout(580)
@pytest.mark.parametrize("version", VERSIONS)
def test_an_evaluation_of_two_rollouts_has_rewards_and_metrics(version: str, tmp_path: Path, free_places: None) -> None:
    environment = evaluation_environment(version, tmp_path)
    with Scripted(script) as server:
        out = tmp_path / "out"
        command, peculiar = VERSIONS[version]
        commit = repository(tmp_path / "repository")
        run(
            str(tmp_path / "venv/bin" / command), "rlm-sums", *peculiar.format(commit=commit).split(),
            *("--model", "scripted", "--client.base-url", server.url, "--client.api-key-var", "UPSTREAM_KEY"),
            *("--no-push", "--no-rich", "--output-dir", str(out)),
            env=environment, cwd=tmp_path,
        )  # fmt: skip
        found = [
            trace
            for file in out.rglob("*.jsonl")
            for line in file.read_text().splitlines()
            for trace in traces(json.loads(line))
        ]
    assert 2 == len(found)
    for trace in found:
        assert [] == trace.get("errors", [])
        assert 1.0 == reward(trace)
        assert (2, 1) == (trace["metrics"]["turns"], trace["metrics"]["cells"])
        assert 2 == sum(node["message"]["role"] == "assistant" for node in trace["nodes"])
    assert 4 == len(server.requests)


def repository(folder: Path) -> str:
    """This checkout as a repository with one commit, and its id: the checkout of the tests may have no history."""
    ignored = (".git", ".venv", ".rlm", "__pycache__", ".*_cache", ".hypothesis", "node_modules")
    shutil.copytree(CHECKOUT, folder, ignore=shutil.ignore_patterns(*ignored))
    who = dict.fromkeys(
        ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "somebody"
    )
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "as it is")):
        run("git", *words, env=os.environ | who, cwd=folder)
    return run("git", "rev-parse", "HEAD", env=dict(os.environ), cwd=folder).strip()


def traces(line: Json) -> list[Json]:
    return list(line.get("traces", [line]))


def reward(trace: Json) -> float:
    right = trace["rewards"]["right"]
    return float(right["score"] if isinstance(right, dict) else right)


def evaluation_environment(version: str, folder: Path) -> dict[str, str]:
    """The package and the tasks in `folder`/venv; the harness's repository is this checkout."""
    uv = str(UV)
    config = folder / "gitconfig"
    config.write_text(
        f'[url "{folder / "repository"}"]\n\tinsteadOf = {HARNESS}nano-rlm.git\n\tinsteadOf = {HARNESS}rlm.git\n[safe]\n\tdirectory = *\n'
    )
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("RLM_", "OPENAI_", "VIRTUAL_ENV"))
    }
    environment = ours | {
        "PATH": f"{Path(uv).parent}:{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": str(config),
        "UPSTREAM_KEY": "sk-of-the-upstream",
        "LOSE_A_REPLY": "1",
    }
    base = Path(sys.executable).resolve()
    try:
        run(uv, "venv", "-q", "--python", str(base), "venv", env=environment, cwd=folder)
        run(
            uv,
            "pip",
            "install",
            "-q",
            "--python",
            "venv/bin/python",
            f"verifiers=={version}",
            str(HERE / "sums"),
            env=environment,
            cwd=folder,
        )
    except AssertionError as error:
        pytest.skip(f"NOT TESTED with verifiers {version}: it cannot be installed: {str(error)[-300:]}")
    return environment
