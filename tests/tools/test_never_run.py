"""CI's check that one user runs the tests that the other skips, with reports that pytest itself has written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("never_run.py")
TESTS = """
import os, pytest

for_root = pytest.mark.skipif(os.environ["WHO"] != "root", reason="takes root")
for_others = pytest.mark.skipif(os.environ["WHO"] == "root", reason="root may do everything")

@for_root
def test_of_root(): pass

@for_others
@pytest.mark.parametrize("number", [1, 2])
def test_of_others(number): pass

@pytest.mark.xfail(reason="is wrong still")
def test_that_fails_as_expected(): assert False
"""


def report(folder: Path, who: str, tests: str = TESTS) -> Path:
    """Run the tests as this user, and return the report."""
    (folder / "test_all.py").write_text(tests)
    written = folder / f"{who}.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={written}", "test_all.py"]
    environment = os.environ | {"WHO": who, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return written


def never_run(*reports: Path) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, SCRIPT, *reports], check=False, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_a_test_that_one_user_skips_and_the_other_runs_is_fine(tmp_path: Path) -> None:
    assert never_run(report(tmp_path, "root"), report(tmp_path, "somebody")) == (0, [])


def test_a_test_that_both_skip_is_named_with_its_reason_and_fails(tmp_path: Path) -> None:
    one, two = report(tmp_path, "somebody"), report(tmp_path, "another")
    assert never_run(one, two) == (1, ["skipped in every run: test_all::test_of_root: takes root"])


def test_each_case_of_a_test_counts_by_itself(tmp_path: Path) -> None:
    one = report(tmp_path, "root")
    two = report(tmp_path, "somebody", TESTS.replace("[1, 2]", "[1, pytest.param(2, marks=for_root)]"))
    assert never_run(one, two) == (1, ["skipped in every run: test_all::test_of_others[2]: takes root"])


def test_a_run_that_left_no_report_fails(tmp_path: Path) -> None:
    code, (line,) = never_run(report(tmp_path, "root"), tmp_path / "somebody.xml")
    assert (code, line) == (1, f"no report, as that run did not come to its end: {tmp_path}/somebody.xml")


def test_a_program_that_could_not_be_installed_is_named_and_does_not_fail(tmp_path: Path) -> None:
    tests = "import pytest\n\ndef test_of_a_program():\n    pytest.skip('NOT TESTED: there is no index')\n"
    skipped = "skipped in every run: test_all::test_of_a_program: NOT TESTED: there is no index"
    assert never_run(report(tmp_path, "root", tests), report(tmp_path, "somebody", tests)) == (0, [skipped])
