"""Take the provider's key out of text: one rule for tool results, journal, screen, errors, outputs and environments.

A key of fewer than eight characters, or one of the placeholders that local servers take for a key, is a word: it is
never searched for, since `test` in a key must not change `3 tests passed`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

SHORTEST = 8
"""Characters of a key that is searched for."""

_LISTED = """
    sk-1234 token-abc123 12345678 123456789 1234567890 sk-12345678 sk-1234567890 password1 password123 test1234 abcd1234
    """
_WORDS = """
    sk pk api apikey key keys token auth bearer test testing dummy fake mock none null nil no not non nokey empty unset
    undefined unused needed notneeded required notrequired local localhost placeholder your my the here example sample
    change changeme me replace insert intercepted anything something whatever default any ollama lm lmstudio studio
    vllm llama llamacpp cpp sglang litellm koboldcpp tgi openai anonymous public proxy model server user
    password passwd pass passphrase secret secrets private access credential credentials admin root guest demo
    foo bar foobar hello enter put paste anthropic google gemini azure mistral groq openrouter deepseek huggingface hf
    mykey myapikey mysecret mysecretkey mypassword yourkey yourapikey yoursecret yoursecretkey yourtoken apitoken
    secretkey accesskey accesstoken replaceme keyhere nothing blank redacted hidden masked todo
    """


def is_placeholder(key: str) -> bool:
    """Whether `key` is what people write where no key is needed: words (`sk-no-key-required`) and `xxxxxxxx`."""
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    known = _WORDS.split()
    return (
        key.lower() in _LISTED.split()
        or len(set(key)) < 2
        or all(word in known or set(word) == {"x"} for word in words)
    )


def is_secret(key: str) -> bool:
    return len(key) >= SHORTEST and not is_placeholder(key)


class Redactor:
    """Knows the keys in use, in every spelling that an error message can give them."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        found = {spelling for key in keys if is_secret(key) for spelling in _spellings(key)}
        # the longest first: one spelling may begin with another
        self.spellings = tuple(sorted(found, key=len, reverse=True))

    def text(self, text: str) -> str:
        for spelling in self.spellings:
            text = text.replace(spelling, REDACTED)
        return text

    def occurs_in(self, text: str) -> bool:
        return any(spelling in text for spelling in self.spellings)

    def value(self, value: Any) -> Any:
        """The same JSON value without keys in it, be they deep inside or names."""
        if not self.spellings:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return value


def _spellings(key: str) -> Iterator[str]:
    yield key
    yield repr(key)[1:-1]
    yield json.dumps(key)[1:-1]
    for quoted in (quote(key, safe=""), quote(key), quote_plus(key)):
        yield quoted
        yield re.sub("%..", lambda found: found.group().lower(), quoted)
    yield from _in_base64(key.encode())


def _in_base64(key: bytes) -> Iterator[str]:
    """As part of something longer (`Basic user:key`), of which nothing is known but where in three bytes it begins.

    The characters at both ends hold bits of the neighbours too, and are left out.
    """
    for before in range(3):
        whole = base64.b64encode(bytes(before) + key).decode().rstrip("=")
        first = (0, 2, 3)[before]
        last = len(whole) if (before + len(key)) % 3 == 0 else len(whole) - 1
        yield whole[first:last]
        yield whole[first:last].translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")
