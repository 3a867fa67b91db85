"""Small tasks in the harnesses harbor and inspect-ai: their real packages, in a separate environment.

They need a package index, and Harbor needs bubblewrap. If one of these is missing, the tests are skipped with the
reason. They take minutes, so `just harnesses` runs them and `pytest` does not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rlm_testkit.found_uv import UV
from rlm_testkit.scripted import Scripted, call, text

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
KEY = "sk-harness-0123456789abcdef"
WRITES = "open('/app/sum.txt', 'w').write(str(sum(range(1, 101))))"
PACKAGES = ("harbor>=0.26", "inspect-ai", "anthropic", "google-genai")
"""The packages of `rlm[harbor]`, inspect-ai, and the imports of its bridge beside openai."""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of an environment with rlm as in uv.lock, and the newest harnesses; harbor needs Python 3.12."""
    python = os.environ.get("TEST_PYTHON") or (sys.executable if sys.version_info >= (3, 12) else "3.12")
    folder = tmp_path_factory.mktemp("harnesses")
    venv = folder / "venv"
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("RLM_", "OPENAI_", "VIRTUAL"))
    }
    variables |= {"UV_PROJECT_ENVIRONMENT": str(venv), "HOME": str(folder), "UV_CACHE_DIR": _cache()}
    install(variables, "sync", "--frozen", "--no-dev", "--python", python)
    install(variables, "pip", "install", "--python", str(venv / "bin/python"), *PACKAGES)
    # harbor requires litellm, which contains the table of tokens that inspect would download otherwise
    (tables,) = venv.glob("lib/python*/site-packages/litellm/litellm_core_utils/tokenizers")
    return variables | {
        "PATH": f"{venv}/bin:{variables['PATH']}",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "TIKTOKEN_CACHE_DIR": str(tables),
    }


def _cache() -> str:
    """The folder of uv's cache; without this, uv would search in the home."""
    done = subprocess.run([str(UV), "cache", "dir"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def install(environment: dict[str, str], *words: str) -> None:
    command = [str(UV), *words, "--quiet"]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"HARNESSES ARE NOT TESTED: they cannot be installed here: {done.stderr.strip()[-300:]}")


def run(environment: dict[str, str], cwd: Path, *words: str) -> str:
    """Run it and return its output."""
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_harbor_installs_rlm_runs_it_and_finds_trajectory_and_metrics(
    environment: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("HARBOR IS NOT TESTED: there is no bubblewrap for its environment")
    with Scripted(call("ipython", code=WRITES), text("It is written.")) as server:
        run(
            environment | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url, "PYTHONPATH": "."},
            EXAMPLES / "harbor",
            *("harbor", "run", "-y", "-p", "task", "-m", "openai/scripted", "--jobs-dir", str(tmp_path)),
            *("-a", "rlm.batches.harbor:RlmAgent", "--ak", "checkout=../.."),
            *("-e", "bubblewrap_environment:BubblewrapEnvironment"),
        )
        keys = {request.headers.get("authorization") for request in server.requests}
    (trial,) = (path.parent for path in tmp_path.glob("*/*/result.json"))
    result = json.loads((trial / "result.json").read_text())
    assert result["exception_info"] is None
    assert result["verifier_result"]["rewards"] == {"reward": 1.0}
    found = result["agent_result"]
    assert (found["n_input_tokens"], found["n_cache_tokens"], found["n_output_tokens"]) == (200, 80, 20)
    assert found["metadata"]["rlm"]["agents"] == 1
    trajectory = json.loads((trial / "agent/trajectory.json").read_text())
    assert trajectory["schema_version"].startswith("ATIF")
    assert trajectory["steps"][-1]["message"] == "It is written."
    assert keys == {f"Bearer {KEY}"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_inspect_solves_a_sample_by_rlm_and_its_own_model(environment: dict[str, str], tmp_path: Path) -> None:
    program = str(EXAMPLES / "inspect/rlm_solver.py")
    output = run(environment, tmp_path, "python", program)
    assert output.splitlines()[-1] == "success 1.0"
    (log,) = tmp_path.glob("logs/*.eval")
    (sample,) = json.loads(run(environment, tmp_path, "inspect", "log", "dump", str(log)))["samples"]
    assert [message["role"] for message in sample["messages"]][-3:] == ["assistant", "tool", "assistant"]
    assert sample["output"]["completion"] == "5050"
