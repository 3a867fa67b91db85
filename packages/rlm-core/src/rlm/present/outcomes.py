"""The outcome of a call, from its result. A call can succeed although a command or a test in it failed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlm.present.describe import LONGEST

if TYPE_CHECKING:
    from rlm.sessions.transcript import TranscriptCall

_STATUS = re.compile(r"^\[exit code: (-?\d{1,6})\]\s*$", re.M)
_OF_RLM = re.compile(
    r"\[(context turns: |turns left: |exit code: |output since the last cell\]|no output\]|this cell\])"
)
_SEARCHED = 4_000
"""Characters at the end of a result that are searched."""

_FAILED_TESTS = re.compile(
    r"^(?:"
    r"=*\s*(?:\d+ \w+, )*[1-9]\d* (?:failed|errors?)\b.* in [\d.:]+ ?s\b.*"  # pytest
    r"|FAILED \((?:failures|errors|unexpected)\S*=\d+.*"  # unittest
    r"|test result: FAILED\..*"  # cargo
    r"|FAIL(?:\s+\S+(?:\s+[\d.]+s|\s+\[.*\])?)?"  # go
    r"|\s*Tests:?\s.*[1-9]\d* failed.*"  # jest, vitest
    r"|\s*[1-9]\d* failing\b.*"  # mocha
    r"|\d+ examples?, [1-9]\d* failures?.*"  # rspec
    r"|FAILURES!|ERRORS!"  # phpunit
    r"|# fail [1-9]\d*"  # node, tap
    r"|Tests run: \d+, Failures: (?:[1-9]\d*|\d+, Errors: [1-9]\d*).*"  # JUnit
    r"|Failed!\s+- Failed:\s+[1-9].*"  # dotnet
    r"|\d+% tests passed, [1-9]\d* tests failed out of \d+"  # ctest
    r")\s*$",
    re.M,
)


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """An outcome. `failure` is empty if nothing failed, else `error`, `exit 1` or `tests failed`.

    `problem` is the most informative line of the result.
    """

    failure: str = ""
    problem: str = ""

    @property
    def is_error(self) -> bool:
        """Whether the call itself failed, and not something that it ran."""
        return self.failure == "error"


def call_outcome(content: str, *, ok: bool, exit_status: int = 0) -> CallOutcome:
    """The outcome of a call with the result `content`.

    `exit_status`: of a command, if the result does not contain it.
    """
    end = content[-_SEARCHED:]
    statuses = [found for found in _STATUS.finditer(end) if int(found[1])]
    if statuses and (ok or not last_line(end[statuses[-1].end() :])):  # otherwise the cell raised after that command
        return CallOutcome(f"exit {statuses[-1][1]}", last_line(end[: statuses[-1].start()]))
    if not ok:
        return CallOutcome("error", last_line(end))
    tests = list(_FAILED_TESTS.finditer(end))
    if tests:
        return CallOutcome("tests failed", tests[-1].group().strip(" =\n")[:LONGEST])
    return CallOutcome(f"exit {exit_status}", last_line(end)) if exit_status else CallOutcome()


def outcome_of(call: TranscriptCall) -> CallOutcome:
    """The outcome of a recorded call. A call without a result has no failure."""
    return CallOutcome() if call.ok is None else call_outcome(call.content, ok=call.ok, exit_status=call.exit_status)


def last_line(text: str) -> str:
    """The last line that is not empty. Lines that rlm adds are skipped."""
    lines = (line.strip() for line in reversed(text[-4 * LONGEST :].splitlines()))
    return next((line[:LONGEST] for line in lines if line and not _OF_RLM.match(line)), "")
