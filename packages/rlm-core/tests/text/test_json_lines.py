"""Errors in a file of tasks name the line; and statistics of many numbers."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from rlm.errors import ConfigError
from rlm.text.json_lines import read_objects, read_typed, unique
from rlm.text.statistics import pass_at_k, percentiles


class Line(msgspec.Struct):
    prompt: str
    max_turns: int | None = None


def read_all(data: bytes) -> list[Line]:
    lines = read_objects(data, "tasks.jsonl")
    return [read_typed(value, Line, f"tasks.jsonl, line {number}") for number, value in lines]


def test_empty_lines_are_counted_and_a_byte_order_mark_is_ignored() -> None:
    data = '\ufeff{"prompt": "ä"}\r\n\n  \n{"prompt": "b"}'.encode()
    assert list(read_objects(data, "f")) == [(1, {"prompt": "ä"}), (4, {"prompt": "b"})]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON: Expecting property name"),
        (b'{"prompt": "a"} x', "not JSON: Extra data at column 17"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"prompt": NaN}', "not JSON: NaN is not allowed"),
        (b'{"prompt": "a", "prompt": "b"}', "not JSON: it contains a name twice"),
        (b'{"prompt": "\\ud800"}', "a lone surrogate"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt":' + b"[" * 100_000, "nested too deeply"),
        (b'{"promt": "a"}', "no field 'promt'. Did you mean prompt?"),
        (b'{"x": "a"}', "no field 'x'. There are: prompt, max_turns."),
        (b"{}", "missing required field `prompt`"),
        (b'{"prompt": 7}', "prompt: Expected `str`, got `int`."),
        (b'{"prompt": "a", "max_turns": "3"}', "max_turns: Expected `int | null`, got `str`."),
    ],
)
def test_a_line_that_is_wrong_is_named(line: bytes, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_all(b'{"prompt": "first"}\n' + line)
    assert str(refused.value).startswith("tasks.jsonl, line 2: ")
    assert words in str(refused.value)


def test_an_id_that_comes_twice_is_refused_with_both_places() -> None:
    unique(iter([("a", "line 1"), ("b", "line 2")]))
    with pytest.raises(ConfigError, match="line 3: the id 'a' occurs twice: line 1 has it too"):
        unique(iter([("a", "line 1"), ("b", "line 2"), ("a", "line 3")]))


def test_percentiles_are_existing_values() -> None:
    assert percentiles([]) == {}
    assert percentiles([7]) == {"p50": 7, "p95": 7, "p99": 7}
    assert percentiles(range(1, 101)) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([3, 1, 2], (50,)) == {"p50": 2}


@pytest.mark.parametrize("passed", range(5))
def test_pass_at_k_is_the_share_of_all_choices_of_k_tries_that_hold_one_that_passed(passed: int) -> None:
    tries = [True] * passed + [False] * (4 - passed)
    for k in range(1, 5):
        chosen = list(itertools.combinations(tries, k))
        assert pass_at_k(4, passed, k) == pytest.approx(sum(map(any, chosen)) / len(chosen))
