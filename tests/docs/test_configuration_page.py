from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_table_of_settings_says() -> None:
    line = "import generate_configuration as g; print(g.page(), end='')"
    reported = subprocess.run([sys.executable, "-c", line], cwd=DOCS, capture_output=True, text=True, check=True).stdout
    assert reported == (DOCS / "configuration.md").read_text(), "run `just docs`"
