"""Which keys are searched for, and in which encodings they are found."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rlm.text.redact import REDACTED, Redactor

Spell = Callable[[str], str]
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
def test_these_words_are_not_taken_for_keys(key: str) -> None:
    assert f"Bearer {REDACTED}!" == Redactor([key]).text(f"Bearer {key}!")


def _lower(quoted: str) -> str:
    return re.sub("%..", lambda found: found.group().lower(), quoted)


def _entities(form: str) -> Spell:
    return lambda key: re.sub(r"[^\w-]", lambda found: form.format(ord(found.group())), key, flags=re.ASCII)


SPELLINGS: dict[str, Spell] = {
    "plain": str,
    "repr": repr,
    "repr of bytes": lambda key: repr(key.encode()),
    "repr twice": lambda key: repr(repr(key)),
    "JSON": json.dumps,
    "JSON of PHP": lambda key: json.dumps(key).replace("/", "\\/"),
    "JSON of Go": lambda key: json.dumps(key).replace("&", "\\u0026").replace("<", "\\u003c"),
    "JSON twice": lambda key: json.dumps(json.dumps(key)),
    "JSON thrice": lambda key: json.dumps(json.dumps(json.dumps(key))),
    "JSON of a repr": lambda key: json.dumps(repr(key)),
    "URL": lambda key: quote(key, safe=""),
    "URL, path": quote,
    "URL, form": quote_plus,
    "URL, lower case": lambda key: _lower(quote(key, safe="")),
    "URL of JavaScript": lambda key: quote(key, safe="!'()*"),
    "URL of Java": lambda key: quote_plus(key, safe="*").replace("~", "%7E"),
    "URL twice": lambda key: quote(quote(key, safe=""), safe=""),
    "HTML": html.escape,
    "HTML, quotes left": lambda key: html.escape(key, quote=False),
    "HTML twice": lambda key: html.escape(html.escape(key)),
    "HTML, decimal": _entities("&#{};"),
    "HTML, three digits": _entities("&#{:03};"),
    "HTML, hexadecimal": _entities("&#x{:X};"),
    "HTML of JSON": lambda key: html.escape(json.dumps(key)),
    "JSON of HTML, of Go": lambda key: json.dumps(html.escape(key)).replace("&", "\\u0026"),
    "JSON of PHP, for HTML": _entities("\\u{:04X}"),
    "URL of JSON": lambda key: quote(json.dumps(key), safe=""),
    "hexadecimal escapes": _entities("\\x{:02x}"),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
@given(key=KEYS)
@example(key="abc/d+e=f&g'h\"i#j<k>l\\m%n\\\\o7")
@settings(max_examples=10)
def test_a_key_is_found_however_an_error_spells_it(spell: Spell, key: str) -> None:
    redactor, text = Redactor([key]), f"Illegal header value {spell(key)}, in full"
    quotes = r"(b|[\\'\"]|%22|%5C|(&|\\u0026)(amp;)*#?\w+;)*"
    assert re.fullmatch(rf"Illegal header value {quotes}{re.escape(REDACTED)}{quotes}, in full", redactor.text(text))
    assert redactor.raw(text.encode()) == redactor.text(text).encode()


@given(KEYS, st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=9), st.booleans())
def test_a_key_is_found_in_basic_authorization(key: str, user: str, safe: bool) -> None:
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    text = f"Basic {encode(f'{user}:{key}'.encode()).decode()} refused"
    assert REDACTED in Redactor([key]).text(text)


def test_a_key_is_removed_from_nested_values_and_names() -> None:
    key = "sk-proj-a1B2c3D4"
    assert {REDACTED: [{"a": f"x{REDACTED}"}, 1, None]} == Redactor([key]).value({key: [{"a": f"x{key}"}, 1, None]})


def test_the_longer_of_two_keys_is_removed_whole() -> None:
    assert REDACTED == Redactor(["sk-abcdef01", "sk-abcdef0123"]).text("sk-abcdef0123")


def test_escapes_in_sequence_take_no_longer_than_their_number() -> None:
    redactor = Redactor(["\\" * 30 + "x1", "'\"" * 9])
    for part in ("\\", "\\'", "%25", "&amp;", "'\""):
        assert "z" in redactor.text(part * 20_000 + "z")
