from __future__ import annotations

import tomllib
from pathlib import Path

from rlm.version import VERSION

ROOT = Path(__file__).parents[2]


def test_every_distribution_has_the_version_that_the_program_prints() -> None:
    files = [ROOT / "pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]
    assert {VERSION} == {tomllib.loads(path.read_text())["project"]["version"] for path in files}
