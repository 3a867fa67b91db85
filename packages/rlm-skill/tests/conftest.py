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


@dataclass(frozen=True)
class Bench:
    """A folder of importable skills and their commands, as an installer leaves them."""

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

    def call(self, name: str, *words: str, **variables: object) -> "Ended":
        with self.start(name, *words, **variables) as process:
            out, err = process.communicate(timeout=60)
        return Ended(process.returncode, out, err)


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
