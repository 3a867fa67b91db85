"""The types of the settings for programs name the settings of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rlm.config.settings import Config
from rlm.config.sources import HostSettings, RunSettings, read_config, with_values
from rlm.errors import ConfigError, CredentialsError

OF_THE_COMMAND = {
    "context",
    "schema",
    "output",
    "json",
    "deltas",
    "quiet",
    "color",
    "limit_ok",
    "debug",
    "confirm",
    "bell",
    "pictures",
    "plain",
    "verbose",
}
OF_THE_HOST = {"api", "api_key", "base_url", "sdk_max_retries", "stream"}


def test_each_setting_is_one_of_programs_or_of_the_command() -> None:
    assert set(Config.settings()) == set(HostSettings.__annotations__) | OF_THE_COMMAND
    assert OF_THE_HOST == set(HostSettings.__annotations__) - set(RunSettings.__annotations__)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"max_turns": 3}, 3),
        ({"exec_timeout": 2}, 2.0),
        ({"tools": ["bash", "edit"]}, ("bash", "edit")),
        ({"tools": ()}, ()),
        ({"tools": "bash,edit"}, ("bash", "edit")),
        ({"images": True}, True),
        ({"home": "a"}, Path("a")),
        ({"model_params": {"stop": ["\n"]}}, {"stop": ["\n"]}),
        ({"model": None}, Config().model),
    ],
)
def test_a_value_is_taken_as_it_is(value: dict[str, Any], expected: object) -> None:
    (name,) = value
    stored = getattr(with_values(Config(), value), name)
    assert (expected, type(expected)) == (stored, type(stored))


@pytest.mark.parametrize(
    "value",
    [
        {"max_turns": True},
        {"max_turns": 2.0},
        {"max_turns": "2"},
        {"max_output": 0},
        {"exec_timeout": 0},
        {"exec_timeout": float("nan")},
        {"exec_timeout": "3"},
        {"images": 1},
        {"images": "on"},
        {"tools": ["bash", 3]},
        {"tools": ["python"]},
        {"tools": 3},
        {"home": 3},
        {"sandbox": "docker"},
        {"model_params": [1]},
        {"model": 3},
    ],
)
def test_an_invalid_value_is_refused_with_its_name(value: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(value))}=.* is not allowed: it takes "):
        with_values(Config(), value)


def test_a_refused_key_is_not_shown_and_no_key_goes_to_the_other_pairs_endpoint() -> None:
    with pytest.raises(CredentialsError, match="api_key is not allowed") as refused:
        read_config({}, {}, named={"api_key": "“sk-1”"})
    assert "sk-1" not in str(refused.value)
    config = read_config({}, {"OPENAI_API_KEY": "sk-openai"}, named={"base_url": "http://mine"})
    assert (None, "http://mine") == (config.api_key, config.base_url)
