"""How a run ends: exit codes, results, invalid tasks, and the turn limit of each task of one agent."""

from __future__ import annotations

import pytest
from rlm.core import exit_codes
from rlm.core.budget import Spent, Stop, TurnLimit
from rlm.core.task import RunResult, check_task
from rlm.errors import AgentError, ConfigError, CredentialsError, ModelUnavailable, RlmError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no"), 2),
        (CredentialsError("no"), 4),
        (ModelUnavailable("no"), 75),
        (RlmError("no"), 1),
        (KeyError("a fault of ours"), 1),
        (AgentError("no"), 1),
        (AgentError("no", "agent_budget"), 3),
    ],
)
def test_exit_code_of_an_error(error: Exception, code: int) -> None:
    assert exit_codes.of_error(error) == code


@pytest.mark.parametrize("stop", list(Stop))
def test_exit_code_of_a_stop(stop: Stop) -> None:
    limit = stop not in (Stop.DONE, Stop.ERROR, Stop.CANCELLED, Stop.SCHEMA)
    code = 3 if limit else {"done": 0, "error": 1, "cancelled": 130, "schema": 1}[stop]
    assert exit_codes.of_stop(stop) == code
    assert exit_codes.of_stop(stop, limit_ok=True) == (0 if limit else code)


@pytest.mark.parametrize("code", [130, 143, 129, 141])
def test_a_run_that_was_ended_before_it_had_a_session_was_cancelled(code: int) -> None:
    assert exit_codes.stop_of(code) is Stop.CANCELLED
    assert exit_codes.stop_of(exit_codes.FAILED) is Stop.ERROR


def test_a_result_reads_as_its_answer() -> None:
    whole, partial = RunResult("42", Stop.DONE), RunResult("4", Stop.MAX_TURNS)
    assert (str(whole), whole.ok, partial.ok) == ("42", True, False)


@pytest.mark.parametrize(("task", "words"), [(None, "NoneType"), (b"count", "bytes"), ("", "empty"), (" \n", "empty")])
def test_an_invalid_task_is_refused(task: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_task(task)
    assert check_task(" count ") == " count "


def test_each_task_of_an_agent_has_the_full_turn_limit() -> None:
    limit, once, twice = TurnLimit(2), Spent(1), Spent(2)
    assert [limit.reached(spent) for spent in (Spent(), once, twice)] == [None, None, Stop.MAX_TURNS]
    limit.begin(twice)
    assert limit.reached(twice) is None
