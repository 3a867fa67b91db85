"""docs/recursion.md lists the arguments and results of the functions for cells; docs/interactive.md the limits of the
prompt.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from rlm import api
from rlm.broker.protocol import OPTIONS
from rlm.core.task import RunResult
from rlm.host.user import _MOST_REPORTED
from rlm.repl.commands import COMMANDS
from rlm.repl.mentions import LONGEST, MOST_NAMES

DOCS = Path(__file__).parents[2] / "docs"


def tables(page: str) -> list[list[str]]:
    """The first column of each table, without its heading."""
    found = re.findall(r"((?:^\|.*\n)+)", (DOCS / page).read_text(), re.MULTILINE)
    return [
        [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
        for table in found
    ]


@pytest.mark.parametrize(("function", "more"), [(api.run, OPTIONS), (api.llm, ()), (api.map, ())])
def test_the_arguments_of_a_function_are_a_table(function: Callable[..., Any], more: tuple[str, ...]) -> None:
    names = {*inspect.signature(function).parameters, *more} - {"settings"}
    assert names in [set(table) for table in tables("recursion.md")]


def test_the_fields_of_a_result_are_a_table() -> None:
    assert {"ok", *(field.name for field in fields(RunResult))} in [set(table) for table in tables("recursion.md")]


def test_the_page_of_the_prompt_lists_its_commands_and_limits() -> None:
    page = (DOCS / "interactive.md").read_text()
    assert not [name for name in COMMANDS if f"`/{name}" not in page]
    for limit in (f"{_MOST_REPORTED:,} characters", f"{LONGEST:,} characters", f"{MOST_NAMES:,} names"):
        assert limit in page
