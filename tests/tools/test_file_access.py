"""The check that the host opens no file by its path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "packages" / "rlm-core" / "src" / "rlm"


def check(root: Path) -> str:
    done = subprocess.run([sys.executable, HERE / "file_access.py", root], capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(done.stdout), done.stderr
    return done.stdout


def test_the_host_opens_nothing_by_its_path() -> None:
    assert check(SOURCE) == ""


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "path.open('rb')",
        "path.open(encoding='utf-8')",
        "(folder / name).read_text()",
        "path.write_bytes(b'')",
        "path.unlink(missing_ok=True)",
        "draft.replace(path)",
        "os.rename(a, b)",
        "os.mkdir(path, 0o700)",
        "shutil.rmtree(folder, ignore_errors=True)",
    ],
)
def test_these_lines_are_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(line + "\n")
    assert ":1: use rlm.process.files" in check(tmp_path)
    (tmp_path / "module.py").write_text(f"{line}  # by path: a constant of the system\n")
    assert check(tmp_path) == ""


@pytest.mark.parametrize(
    "line",
    [
        "open(self._file, 'rb', closefd=False)",
        "text.replace('a', 'b')",
        "replace(order, cwd=cwd)",
        "os.rename(a, b, src_dir_fd=folder, dst_dir_fd=folder)",
        "os.mkdir(name, 0o700, dir_fd=folder)",
        "await client.open()",
        "files.replace(path, data)",
    ],
)
def test_these_lines_are_allowed(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(f"async def f():\n    {line}\n")
    assert check(tmp_path) == ""
