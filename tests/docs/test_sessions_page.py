"""The schema and the tables of records say what the types say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_schema_and_the_page_are_as_the_types_are() -> None:
    made = runpy.run_path(str(DOCS / "generate_sessions.py"))
    assert (DOCS / "sessions.schema.json").read_text() == made["schema"](), "run: just docs"
    assert (DOCS / "sessions.md").read_text() == made["page"](), "run: just docs"
