"""The paths in CONTRIBUTING.md and docs/architecture.md exist."""

from __future__ import annotations

import ast
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


def test_the_functions_of_a_turn_exist() -> None:
    named = re.findall(r"\| `(\S+\.py)`: `(\w+)\.(\w+)` \|", (ROOT / "docs/architecture.md").read_text())
    assert len(named) == 12
    for module, owner, name in named:
        classes = [node for node in ast.parse((PACKAGE / module).read_text()).body if isinstance(node, ast.ClassDef)]
        (body,) = [each.body for each in classes if each.name == owner]
        assert name in [each.name for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
