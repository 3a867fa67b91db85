"""Which parts of a URL are credentials, and which only look like them."""

from __future__ import annotations

import pytest
from rlm.config.child_env import child_environment
from rlm.config.credentials import hide_credentials
from rlm.config.sources import read_config
from rlm.text.redact import credentials_of, has_credentials

NONE = [
    "https://gateway/@team/v1",
    "http://gateway:8080/@team/v1",
    "http://[::1]:8080/@team/v1",
    "https://gateway/v1?user=a@b",
    "https://gateway/v1#a@b",
    "https://gateway?user=a@b",
    "https://gateway#a@b",
    "https://gateway/v1?next=https://other/@b",
    "/opt/python@3.12/bin:/usr/bin",
    "-I/opt/python@3.12/include",
    "gateway:8080/@team",
]
SOME = [
    "https://user:word-1@gateway/@team/v1",
    "https://word-1@gateway/v1",
    "http://user:word-1@[::1]:8080/v1",
    "user:word-1@gateway:8080",
    "http://user:word-1/x@gateway/v1",
    "http://user:word-1?x@gateway/v1",
    "http://user:word-1#x@gateway/v1",
    "http://user:x@word-1/x@gateway/v1",
    "https://gateway/@team/v1?api_key=word-1",
]


@pytest.mark.parametrize("url", NONE)
def test_an_at_sign_behind_the_host_is_not_a_credential(url: str) -> None:
    assert not has_credentials(url)
    environ = {"PATH": url, "OPENAI_BASE_URL": url, "PIP_INDEX_URL": f"{url} {url}"}
    assert environ["OPENAI_BASE_URL"] == child_environment(read_config({}, environ), environ)["OPENAI_BASE_URL"]
    sandboxed = child_environment(read_config({"sandbox": "bwrap"}, environ), environ)
    assert environ["PIP_INDEX_URL"] == sandboxed["PIP_INDEX_URL"]
    assert sandboxed["PATH"].startswith(url)


@pytest.mark.parametrize("url", SOME)
def test_text_before_the_host_is_a_credential_in_every_form(url: str) -> None:
    assert "word-1" in credentials_of(url), (
        "the part alone must be found too, because an error may quote only this part"
    )
    environ = {"PATH": "/bin", "OPENAI_BASE_URL": url, "https_proxy": url, "PIP_INDEX_URL": f"https://gateway {url}"}
    assert {"PATH", "PIP_INDEX_URL"} == set(child_environment(read_config({}, environ), environ))
    assert {"PATH"} == set(child_environment(read_config({"sandbox": "bwrap"}, environ), environ))


def test_the_whole_password_is_known_too() -> None:
    assert "one:word-1" in credentials_of("https://user:one:word-1@gateway/@team/v1")


def test_a_secret_in_any_word_of_a_variable_is_not_shown() -> None:
    environ = {"PIP_INDEX_URL": "https://gateway https://user:word-1@gateway"}
    assert hide_credentials("Who knows word-1?", environ=environ) == "Who knows [redacted]?"
