"""Where CONTRIBUTING.md and docs/architecture.md say that something is, there is something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "packages/rlm-core/src/rlm"


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_paths_of_modules_and_tests_exist(page: str) -> None:
    named = re.findall(r"`((?:\w+/)+\w*(?:\.\w+)?)`", (ROOT / page).read_text())
    assert len(named) > 10
    bases = (ROOT, PACKAGE, PACKAGE.parent)
    assert not [path for path in named if not any((base / path).exists() for base in bases)]
