"""The benchmarks run and print their measurements. The speed does not matter here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rlm_testkit.cli import COMMAND

ROOT = Path(__file__).parents[2]


def test_each_chosen_scenario_has_lines_for_rlm_and_for_each_floor(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command: list[str | Path] = [sys.executable, "-m", "bench", "help", "second", "--rounds", "1", "--json", report]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "| `rlm --help` | **" in done.stdout
    reported = json.loads(report.read_text())
    assert reported["failures"] == {}
    assert [set(measure["values"]) for measure in reported["measures"]] == [
        {"rlm", "`python -c pass`"},
        {"rlm", "std", "post"},
    ]


def test_a_program_that_fails_is_reported_and_not_hidden(tmp_path: Path) -> None:
    broken = tmp_path / "rlm"
    broken.write_text('#!/bin/sh\n[ "$1" = --help ] || { echo "no such luck" >&2; exit 3; }\n')
    broken.chmod(0o700)
    command: list[str | Path] = [sys.executable, "-m", "bench", "second", "--rounds", "1", "--rlm", broken]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "- second, rlm: rlm: exit code 3: no such luck" in done.stdout


def test_an_unknown_scenario_is_refused_with_the_names_of_the_known() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "nothing"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "There are: prompt, help, start," in done.stderr


SHARE = """
import sys
from pathlib import Path

from rlm_testkit.cli import COMMAND
from bench import harness, shared_data
with harness.Bench(Path(sys.argv[1])) as bench:
    for cell in ("import no_such_package", "1 / 0"):
        try:
            shared_data.share(cell, "1", bench)
        except harness.RunFailedError as error:
            print(error)
"""


def test_data_that_cannot_be_made_is_reported_in_a_line_with_the_command_that_installs_a_missing_package() -> None:
    done = subprocess.run([sys.executable, "-c", SHARE, COMMAND], cwd=ROOT, capture_output=True, text=True, check=True)
    missing, other = done.stdout.splitlines()
    python = COMMAND.with_name("python")
    assert missing == f"the kernels have no no_such_package: uv pip install --python {python} no_such_package"
    assert other.endswith("ZeroDivisionError: division by zero")
