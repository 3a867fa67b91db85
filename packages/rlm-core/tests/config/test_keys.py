"""How the key is read, and which variables a kernel gets."""

from __future__ import annotations

import pytest
from rlm.config.child_env import child_environment
from rlm.config.sources import read_config
from rlm.errors import CredentialsError

KEY = "sk-proj-a1B2c3D4e5F6"


@pytest.mark.parametrize("name", ["RLM_API_KEY", "OPENAI_API_KEY"])
@pytest.mark.parametrize("around", ["{}\n", " {} ", "\t{}\r\n", "\n\n{}"])
def test_blanks_and_newlines_around_a_key_are_not_part_of_it(name: str, around: str) -> None:
    assert KEY == read_config({}, {name: around.format(KEY)}).api_key


@pytest.mark.parametrize("name", ["RLM_API_KEY", "OPENAI_API_KEY"])
@pytest.mark.parametrize(
    "key", [f"“{KEY}”", f"{KEY}\u200b", f"\ufeff{KEY}", f"{KEY}\nexport A=1", "sk-\x1b[31m", "sk-ключ", "sk-\ud800"]
)
def test_an_invalid_key_is_refused_and_not_shown(name: str, key: str) -> None:
    with pytest.raises(CredentialsError, match=f"{name} is not allowed") as refused:
        read_config({}, {name: key})
    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize("key", ["local", "test", "x", "EMPTY", "lm-studio"])
def test_a_placeholder_changes_nothing_of_a_kernels_environment(key: str) -> None:
    environ = {"PATH": "/usr/local/bin:/bin", "A": "3 tests, EMPTY lm-studio", "B": key, "OPENAI_API_KEY": key}
    environment = child_environment(read_config({}, environ), environ)
    assert environment["PATH"].startswith("/usr/local/bin:/bin")
    assert (environ["A"], key) == (environment["A"], environment["B"])
    assert "OPENAI_API_KEY" not in environment


def test_variables_that_hold_the_key_are_left_out_whole() -> None:
    environ = {"PATH": "/bin", "RLM_API_KEY": f"{KEY}\n", "SAME": KEY, "HEADER": f"Bearer {KEY}", "OTHER": "a"}
    assert {"PATH", "OTHER"} == set(child_environment(read_config({}, environ), environ))
