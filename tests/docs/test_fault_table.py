from __future__ import annotations

import re
import runpy
import signal
from pathlib import Path

import pytest
from rlm.cli.help import _EPILOG
from rlm.core import exit_codes
from rlm_testkit.kernel_faults import KERNEL_FAULTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_fault_tables_in_the_docs_are_those_that_the_tests_prove() -> None:
    page = runpy.run_path(str(DOCS / "generate_faults.py"))["page"]()
    assert (DOCS / "faults.md").read_text() == page, "run: python docs/generate_faults.py"


@pytest.mark.parametrize("test", [fault.test for fault in KERNEL_FAULTS if fault.test])
def test_the_separate_test_of_a_fault_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"\nasync def {name}(" in (text := (ROOT / path).read_text()) or f"\ndef {name}(" in text


def test_each_kernel_fault_is_named_once_and_proved_one_way() -> None:
    assert len({fault.name for fault in KERNEL_FAULTS}) == len(KERNEL_FAULTS)
    assert all(bool(fault.code) != bool(fault.test) for fault in KERNEL_FAULTS)


def test_the_page_and_the_help_list_every_exit_code() -> None:
    codes = {code for name, code in vars(exit_codes).items() if name.isupper() and isinstance(code, int)}
    assert codes == set(runpy.run_path(str(DOCS / "generate_faults.py"))["EXIT_CODES"]) - {128 + signal.SIGKILL}
    assert codes == {int(code) for code in re.findall(r"\b\d+\b", _EPILOG.rpartition("exit codes:")[2])}
