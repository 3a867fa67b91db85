import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

SCRIPT = """\
import sys
from rlm.skill import cli
if __name__ == "__main__":
    sys.exit(cli())
"""


CALLS = """
import json, os, runpy, sys, tempfile
import pydantic, tyro, rlm.skill.command
ended = []
for script, *words in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if not (child := os.fork()):
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = [script, *words]
            runpy.run_path(script, run_name="__main__")
            os._exit(99)  # not reached: a command exits
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (out, err):
            file.seek(0)
        ended.append((code, out.read().decode(), err.read().decode()))
print(json.dumps(ended))
"""


@dataclass(frozen=True)
class SkillBench:
    """A folder of importable skills and their commands, as an installer would create it."""

    path: Path

    def write(self, name: str, code: str, init: str | None = None) -> None:
        package = self.path / name
        package.mkdir()
        (package / "__init__.py").write_text(f"from .{name} import run" if init is None else init)
        (package / f"{name}.py").write_text(dedent(code), encoding="utf-8")
        self.command(name)

    def command(self, name: str) -> Path:
        script = self.path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(SCRIPT)
        return script

    def environment(self, **variables: object) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.path), **{key: str(value) for key, value in variables.items()}}

    def start(self, name: str, *words: str, **variables: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, self.path / "bin" / name, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**variables),
        )

    def call(self, name: str, *words: str, **variables: object) -> "CommandResult":
        with self.start(name, *words, **variables) as process:
            out, err = process.communicate(timeout=60)
        return CommandResult(process.returncode, out, err)

    def call_each(self, calls: list[tuple[str, list[str]]]) -> "list[CommandResult]":
        """Call these skills, each in a fork of one process that has imported the modules that all of them need."""
        commands = json.dumps([[str(self.path / "bin" / name), *words] for name, words in calls])
        done = subprocess.run(
            [sys.executable, "-c", CALLS, commands],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=60,
            check=True,
        )
        return [CommandResult(*each) for each in json.loads(done.stdout)]


class CommandResult(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def bench(tmp_path: Path) -> SkillBench:
    return SkillBench(tmp_path)
