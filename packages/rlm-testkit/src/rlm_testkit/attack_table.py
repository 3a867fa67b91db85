"""`just attack`: a table of the attacks that were tried, and of those that were denied.

A test of an attack is marked `attack(KIND)`, and passes if every attempt is denied. A test with several attempts
records their number: `record_property("attempts", 40)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "attack(kind): passes if what it tries is denied; see `just attack`")


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("attack")
    if mark is not None:
        item.user_properties.append(("attack", mark.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.markexpr != "attack":
        return
    tried, denied, untried = Counter[str](), Counter[str](), Counter[str]()
    for outcome in ("passed", "failed", "error", "skipped"):
        for kind, attempts in _attempts(terminalreporter.stats.get(outcome, [])):
            tried[kind] += attempts * (outcome != "skipped")
            denied[kind] += attempts * (outcome == "passed")
            untried[kind] += attempts * (outcome == "skipped")
    terminalreporter.section("attacks")
    rows = [("kind", "attempts", "denied", "not tried here")]
    rows += [(kind, str(tried[kind]), str(denied[kind]), str(untried[kind] or "")) for kind in sorted(tried)]
    rows.append(("all", str(tried.total()), str(denied.total()), str(untried.total() or "")))
    for kind, *numbers in rows:
        terminalreporter.write_line(f"{kind:<40}" + "".join(f"{number:>16}" for number in numbers))


def _attempts(reports: list[pytest.TestReport]) -> Iterator[tuple[str, int]]:
    for report in reports:
        properties = dict(report.user_properties)
        if "attack" in properties and (report.when == "call" or report.outcome != "passed"):
            yield str(properties["attack"]), int(str(properties.get("attempts", 1)))
