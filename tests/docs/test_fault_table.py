from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_fault_table_in_the_docs_is_the_one_that_the_tests_prove() -> None:
    made = runpy.run_path(str(DOCS / "generate_faults.py"))["page"]()
    assert (DOCS / "faults.md").read_text() == made, "run: python docs/generate_faults.py"
