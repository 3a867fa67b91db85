"""`rlm demo`: all of rlm on a small real repository, with a recorded model instead of a provider.

Everything but the model is real: the loop, the kernels, two sub-agents, the journal, and the repository's own tests.
Their exit code is red before the run and green after it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from rlm.cli import reporter
from rlm.cli.arguments import CommandLine
from rlm.cli.streams import say, say_painted, stderr_is_terminal
from rlm.config.environment import program
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import RlmError
from rlm.host.spec import AgentSpec, context_file
from rlm.present.live.row import Row, fit, paint
from rlm.text.styled import Span, Style

TASK = "The tests of this repository fail. Find out why, fix the code, and show that they pass."
_SETTINGS = {"max_depth": "1", "tools": "ipython,summarize,edit"}
_HERE = files("rlm.cli.demo")


def run(line: CommandLine) -> int:
    """Unpack the repository, let the recorded model fix it, and report the result from the exit codes of its tests."""
    config = read_config(line.settings)
    folder = Path(tempfile.mkdtemp(prefix="rlm-demo-"))  # noqa: TID251 - a new folder
    repository = _unpack(folder / "shelf")
    _say(config, f"A small repository with failing tests, in {repository}:")
    if _tests_pass(repository, config):
        raise RlmError("The tests of the demo's repository should fail before it is fixed. Please report this.")
    _say(config, "\nrlm works on it. The model's replies are recorded, all else is real and happens now:\n")
    with as_file(_HERE / "turns.jsonl") as turns:
        config = read_config(
            {**_SETTINGS, **line.settings} | {"model": f"replay:{turns}", "home": str(folder / ".rlm")}
        )
        spec = AgentSpec(TASK, config, repository, context_file(config.context))
        code = reporter.run(spec, str(repository))
    _say(config, "\nThe same tests again:")
    if code == exit_codes.DONE and not _tests_pass(repository, config):
        raise RlmError(f"The tests still fail. The session is in {folder}; please report this.")
    _say(config, f"\nSee what it did:  rlm show -C {repository}")
    return code


def _unpack(target: Path) -> Path:
    """Copy the repository and, if git is installed, commit it, so that the change can be shown."""
    with as_file(_HERE / "repository") as source:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))  # noqa: TID251 - into a new folder
    (target / ".gitignore").write_text("__pycache__/\n")  # by path: in a new folder
    git = program("git")
    if git is not None:
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Import"]):
            name = ["-c", "user.name=demo", "-c", "user.email=demo@localhost"]
            subprocess.run([git, "-C", str(target), *name, *words], check=False, capture_output=True)
    return target


def _tests_pass(repository: Path, config: Config) -> bool:
    words = [sys.executable, "-m", "unittest"]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=False)
    passed = done.returncode == 0
    summary = done.stderr.rstrip().rpartition("\n")[2]
    result = f"{'green' if passed else 'red'}: {summary} (exit code {done.returncode})"
    row = Row((Span("  python -m unittest  "), Span(result, Style.GREEN if passed else Style.RED)))
    coloured = config.color.colors(terminal=stderr_is_terminal())
    if not config.quiet:
        say_painted(paint(fit(row, 0), color=coloured))
    return passed


def _say(config: Config, text: str) -> None:
    if not config.quiet:
        say(text)
