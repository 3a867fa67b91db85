"""List each test that all of these runs skipped, with the reason. Exit with 1 if there is one.

python tests/tools/never_run.py REPORT.xml...

The reports come from `pytest --junitxml`. CI runs the tests as two users: the tests that one of them must skip, the
other runs. A test of a program from an index that could not be installed says NOT TESTED: it is listed and does not
count.
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

Skips = dict[str, str]
EXCUSED = "NOT TESTED"


def read(report: Path) -> tuple[set[str], Skips]:
    """The tests that ran, and the skipped ones with the reason."""
    ran: set[str] = set()
    skipped: Skips = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped[@type='pytest.skip']")  # an expected failure has run: it has another type
        if skip is None:
            ran.add(name)
        else:
            skipped[name] = skip.get("message", "")
    return ran, skipped


def never_run(reports: list[Path]) -> Skips:
    runs = [read(report) for report in reports]
    ran = set[str]().union(*(names for names, _ in runs))
    return {name: reason for _, skips in runs for name, reason in skips.items() if name not in ran}


def main(reports: list[Path]) -> int:
    if missing := [str(report) for report in reports if not report.exists()]:
        print("no report, as that run did not come to its end:", *missing)
        return 1
    never = never_run(reports)
    for name, reason in never.items():
        print(f"skipped in every run: {name}: {reason}")
    return 1 if any(not reason.startswith(EXCUSED) for reason in never.values()) else 0


if __name__ == "__main__":
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
