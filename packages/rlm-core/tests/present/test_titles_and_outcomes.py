"""The title of a call, read from its code, and its outcome, read from its result."""

from __future__ import annotations

import json

import pytest
from rlm.present.outcomes import CallOutcome, call_outcome
from rlm.present.titles import code_title, title


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from pathlib import Path\nimport os\n\n# look\nprint(os.listdir())", "print(os.listdir())"),
        ("import os; os._exit(1)", "os._exit(1)"),
        ("import os, sys; import json; print(1)\nprint(2)", "print(1) …"),
        ("from a import (\n    b,\n    c,\n)\nb(c)", "b(c)"),
        ('"""What this does.\n\nAt length.\n"""\nrun()', "run()"),
        ('"""In one line."""\nrun()', "run()"),
        ("%matplotlib inline\n%load_ext autoreload\nplt.plot(x)", "plt.plot(x)"),
        ("%%time\nimport x\nslow()", "slow()"),
        ("try:\n    risky()\nexcept ValueError: pass", "risky() …"),
        ("sys.path.insert(0, '.')\nwarnings.filterwarnings('ignore')\nmain()", "main()"),
        ("@cache\ndef f(x): return x", "def f(x): return x"),
        ("%%bash\nset -euo pipefail\n# tests\npytest -q", "%%bash pytest -q"),
        ("%%sh\nls", "%%sh ls"),
        ("%%writefile notes.md\nimport this", "%%writefile notes.md"),
        ("!pytest -q", "!pytest -q"),
        ("%pip install pandas", "%pip install pandas"),
        ("import os", "import os"),
        ("# nothing but a comment", "# nothing but a comment"),
        ("", ""),
        ("def broken(:\n  ...", "def broken(: …"),
    ],
)
def test_a_title_is_the_first_informative_statement(code: str, expected: str) -> None:
    assert code_title(code) == expected


def test_a_title_uses_the_most_informative_argument() -> None:
    assert title("bash", json.dumps({"command": "cd src\nset -x\nexport A=1\nmake test"})) == "make test"
    assert title("edit", json.dumps({"path": "a.py", "old_str": "x", "new_str": "y\nz"})) == "a.py +2 −1"
    assert title("edit", json.dumps({"path": "a.py", "old_str": "x"})) == "a.py"
    assert title("ipython", '{"code": "1+') == '{"code": "1+'
    assert title("ipython", "[1]") == "[1]"


@pytest.mark.parametrize(
    ("content", "ok", "failure", "problem"),
    [
        ("hello\n", True, "", ""),
        ("ls: no such file\n[exit code: 2]\n", True, "exit 2", "ls: no such file"),
        ("one\n[exit code: 1]\ntwo\n[exit code: 127]\nafter\n", True, "exit 127", "two"),
        ("[exit code: 1]", False, "exit 1", ""),
        ("killed\n[exit code: -9]\n", True, "exit -9", "killed"),
        ("a line with [exit code: 3] in it", True, "", ""),
        ("Traceback\nZeroDivisionError: division by zero\n[context turns: 3/8]", False, "error", "ZeroDivisionError: division by zero"),
        ("[exit code: 1]\nValueError: wrong\n[turns left: 2]", False, "error", "ValueError: wrong"),
        ("no such file\n[exit code: 1]\n[turns left: 2]", False, "exit 1", "no such file"),
        ("F.\n== 1 failed, 2 passed in 0.03s ==\n", True, "tests failed", "1 failed, 2 passed in 0.03s"),
        ("2 passed, 1 error in 61.20s (0:01:01)\n", True, "tests failed", "2 passed, 1 error in 61.20s (0:01:01)"),
        ("3 passed in 0.03s\n", True, "", ""),
        ("0 failed, 3 passed in 0.1s\n", True, "", ""),
        ("Ran 2 tests in 0.001s\n\nFAILED (failures=1)\n", True, "tests failed", "FAILED (failures=1)"),
        ("test result: FAILED. 1 passed; 1 failed;\n", True, "tests failed", "test result: FAILED. 1 passed; 1 failed;"),
        ("FAIL\texample.com/m\t0.003s\n", True, "tests failed", "FAIL\texample.com/m\t0.003s"),
        ("Tests:       1 failed, 4 passed, 5 total\n", True, "tests failed", "Tests:       1 failed, 4 passed, 5 total"),
        ("  2 failing\n", True, "tests failed", "2 failing"),
        ("5 examples, 0 failures\n", True, "", ""),
        ("5 examples, 2 failures\n", True, "tests failed", "5 examples, 2 failures"),
        ("# fail 0\n", True, "", ""),
        ("Tests run: 4, Failures: 0, Errors: 1, Skipped: 0\n", True, "tests failed", "Tests run: 4, Failures: 0, Errors: 1, Skipped: 0"),
        ("He said that 3 failed in 2 s of testing, and went on.\n", True, "", ""),
    ],
)  # fmt: skip
def test_an_outcome_is_read_from_the_result(content: str, *, ok: bool, failure: str, problem: str) -> None:
    assert call_outcome(content, ok=ok) == CallOutcome(failure, problem)


@pytest.mark.parametrize(
    ("content", "ok", "failure", "problem"),
    [
        ("[no output]", True, "exit 3", ""),
        ("CompletedProcess(args=['false'], returncode=3)\n", True, "exit 3", "CompletedProcess(args=['false'], returncode=3)"),
        ("== 1 failed in 0.03s ==\n", True, "tests failed", "1 failed in 0.03s"),
        ("ValueError: wrong", False, "error", "ValueError: wrong"),
    ],
)  # fmt: skip
def test_a_command_may_fail_without_a_message_in_the_result(
    content: str, *, ok: bool, failure: str, problem: str
) -> None:
    assert call_outcome(content, ok=ok, exit_status=3) == CallOutcome(failure, problem)


def test_the_longest_result_is_read_at_once() -> None:
    assert call_outcome("1 failed " * 10**6, ok=True) == CallOutcome()
