from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rlm.cli.command_spec import command_flags
from rlm.cli.flags import RUN

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_agrees_with_the_table_of_settings() -> None:
    line = "import generate_configuration as g; print(g.page(), end='')"
    reported = subprocess.run([sys.executable, "-c", line], cwd=DOCS, capture_output=True, text=True, check=True).stdout
    assert reported == (DOCS / "configuration.md").read_text(), "run `just docs`"


def test_the_help_has_n_only_for_whole_numbers() -> None:
    settings = [flag for flag in command_flags(RUN) if flag.setting and flag.metavar == "N"]
    assert settings
    assert not [flag.name for flag in settings if flag.setting and "a whole number" not in flag.setting.read.says]
