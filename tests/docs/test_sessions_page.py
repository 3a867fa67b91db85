"""The schema and the tables of records match the types."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from rlm.core.adaptation import Adaptation

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_schema_and_the_page_are_as_the_types_are() -> None:
    generator = runpy.run_path(str(DOCS / "generate_sessions.py"))
    assert (DOCS / "sessions.schema.json").read_text() == generator["schema"](), "run: just docs"
    assert (DOCS / "sessions.md").read_text() == generator["page"](), "run: just docs"


def test_the_page_explains_each_reason_to_drop_messages_and_each_adaptation() -> None:
    core = "".join(path.read_text() for path in (ROOT / "packages/rlm-core/src/rlm/core").glob("*.py"))
    reasons = re.findall(r'\b(?:drop|Dropped)\(.*"(\w+)"', core)
    assert set(reasons) == set(runpy.run_path(str(DOCS / "generate_sessions.py"))["DROPS"])
    page = (DOCS / "sessions.md").read_text()
    assert not [name for name in Adaptation if f"`{name}`" not in page]
