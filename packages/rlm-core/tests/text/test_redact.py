"""Which keys are searched for, and in which spellings they are found."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.text.redact import REDACTED, Redactor

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=9, max_size=60).map(
    lambda key: f"{key}7"
)
WORDS = ["", "x", "EMPTY", "none", "test", "local", "ollama", "lm-studio", "intercepted", "sk-no-key-required", "dummy"]
WORDS += [
    "NOT_NEEDED",
    "your-api-key-here",
    "sk-xxxxxxxxxxxxxxxx",
    "********",
    "api_key",
    "placeholder",
    "sk-1234",
    "token-abc123",
    "password",
    "Password123",
    "my-secret-key",
    "<YOUR_OPENROUTER_API_KEY>",
    "secretkey",
    "changeme",
    "replace-me",
    "put-your-secret-here",
]


@pytest.mark.parametrize("word", WORDS)
def test_a_placeholder_is_a_word_like_any_other(word: str) -> None:
    text = f"3 {word}s passed in /usr/local/bin, {word} EMPTY"
    assert text == Redactor([word]).text(text)


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-a1B2c3D4",
        "gsk_0123456789",
        "sk-secret-key-1234",
        "correct-horse",
        "test-key-12345678",
        "pass-word-Hq7x",
    ],
)
def test_a_key_is_none(key: str) -> None:
    assert f"Bearer {REDACTED}!" == Redactor([key]).text(f"Bearer {key}!")


@given(KEYS)
def test_a_key_is_found_however_an_error_spells_it(key: str) -> None:
    spelt = [key, repr(key), json.dumps(key), repr(key.encode()), quote(key, safe=""), quote_plus(key), quote(key)]
    for text in spelt:
        assert REDACTED in Redactor([key]).text(f"Illegal header value {text}")


@given(KEYS, st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=9), st.booleans())
def test_in_basic_authorization_too(key: str, user: str, safe: bool) -> None:
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    text = f"Basic {encode(f'{user}:{key}'.encode()).decode()} refused"
    assert REDACTED in Redactor([key]).text(text)


def test_deep_inside_and_as_a_name() -> None:
    key = "sk-proj-a1B2c3D4"
    assert {REDACTED: [{"a": f"x{REDACTED}"}, 1, None]} == Redactor([key]).value({key: [{"a": f"x{key}"}, 1, None]})


def test_the_longer_of_two_keys_is_taken_out_whole() -> None:
    assert REDACTED == Redactor(["sk-abcdef01", "sk-abcdef0123"]).text("sk-abcdef0123")
