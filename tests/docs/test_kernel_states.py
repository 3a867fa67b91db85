from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_kernel_states_in_the_docs_is_the_program_s() -> None:
    page = runpy.run_path(str(DOCS / "generate_kernel_states.py"))["page"]()
    assert (DOCS / "architecture.md").read_text() == page, "run: just docs"
