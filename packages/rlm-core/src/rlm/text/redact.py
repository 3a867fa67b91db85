"""Removes keys from text, by one rule for tool results, journal, screen, errors, outputs and environments.

A key with fewer than eight characters, or a common placeholder for a key of local servers, counts as a word. It is not
searched for: `test` as a key must not change `3 tests passed`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from html.entities import html5
from typing import Any
from urllib.parse import unquote

REDACTED = "[redacted]"

SHORTEST = 8
"""Characters: a shorter key is not searched for."""

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
    secretkey accesskey accesstoken replaceme keyhere nothing blank redacted todo
    """


def is_secret(key: str) -> bool:
    """Whether `key` is long enough, and no usual text for "no key needed": words (`sk-no-key-required`), `xxxxxxxx`."""
    if len(key) < SHORTEST or key.lower() in _LISTED.split() or len(set(key)) < 2:
        return False
    known = _WORDS.split()
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    return not all(word in known or set(word) == {"x"} for word in words)


_PLAIN = re.compile("[A-Za-z0-9_-]+")
"""Characters that no error message escapes. Most keys have only these, and are found literally."""

_PARTS = re.compile(r"[A-Za-z0-9_-]+|(.)\1*", re.DOTALL)
_BACKSLASH = r"(?:\\|%(?:25){0,3}5[cC])"
_WIDEST = 160  # bytes of a character's longest spelling
_ERRORS = "surrogateescape"


class Redactor:
    """Removes the keys in use, in every spelling that an error message can contain."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        keys = list(keys)
        secrets = [key for key in keys if is_secret(key)]
        found = {*secrets, *(spelling for key in secrets for spelling in _in_base64(key.encode(errors=_ERRORS)))}
        # the longest first: one spelling may be a prefix of another
        ordered = sorted(found, key=len, reverse=True)
        self._words = [spelling for spelling in ordered if spelling in keys or _PLAIN.fullmatch(spelling)]
        self._patterns = [_Pattern(spelling) for spelling in ordered if not _PLAIN.fullmatch(spelling)]
        self.longest = max((*map(len, self._words), *(pattern.longest for pattern in self._patterns), 0))
        """The most bytes of a replaced text; 0 if there is nothing to search for."""

    def text(self, text: str) -> str:
        # patterns first: a plain key may be the beginning of a pattern
        for pattern in self._patterns:
            text = pattern.sub(text)
        for word in self._words:
            text = text.replace(word, REDACTED)
        return text

    def raw(self, data: bytes) -> bytes:
        # Latin-1 keeps each byte; patterns accept the single bytes of UTF-8 as spellings of a character
        return self.text(data.decode("latin-1")).encode("latin-1")

    def occurs_in(self, text: str) -> bool:
        return self.text(text) != text

    def value(self, value: Any) -> Any:
        """Return the JSON value without keys, at any depth and also in names."""
        if not self.longest:
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


class _Pattern:
    """A spelling with characters that are escaped in many ways, in several layers of quoting."""

    def __init__(self, spelling: str) -> None:
        self._anchor = max(_PLAIN.findall(spelling), key=len, default="")
        self._pattern = re.compile("".join(_escaped(part[0]) for part in _PARTS.finditer(spelling)))

        self.longest = len(spelling) * _WIDEST

    def sub(self, text: str) -> str:
        # searching for the part that nobody escapes is many times faster than the pattern
        return self._pattern.sub(REDACTED, text) if self._anchor in text else text


def _escaped(part: str) -> str:
    """Return the pattern of a run of plain characters, or of another, repeated character."""
    if _PLAIN.fullmatch(part):
        return part
    character, count = part[0], len(part)
    encoded = "|".join(_encodings(character))
    if character == "\\":
        # each may be doubled, and the next character may be escaped: match all at once, to avoid trying every division
        return rf"(?:\\(?:x5[cC]|u005[cC])?|{encoded}){{{count},{8 * count + 8}}}(?!{_BACKSLASH})"
    return rf"(?:{_BACKSLASH}{{0,8}}(?:{encoded}|{re.escape(character)})){{{count}}}"


def _encodings(character: str) -> Iterator[str]:
    """Yield the escapes of a character in URLs, strings of programs, JSON and HTML, in up to four layers.

    Backslashes before them are matched elsewhere.
    """
    data, code = character.encode(errors=_ERRORS), ord(character)
    utf16 = character.encode("utf-16-be", "surrogatepass").hex()
    units = [utf16[at : at + 4] for at in range(0, len(utf16), 4)]
    names = "".join(f"|{name}" for name, meant in html5.items() if meant == character and name.endswith(";"))
    yield "".join(rf"%(?:25){{0,3}}(?i:{byte:02x})" for byte in data)
    yield rf"(?:&|u0026)(?:amp;){{0,3}}(?:#0{{0,5}}{code};|#[xX]0{{0,5}}(?i:{code:x});{names})"
    if character != "\\":
        yield r"\\{1,8}".join(rf"x(?i:{byte:02x})" for byte in data)
        yield r"\\{1,8}".join(rf"u(?i:{unit})" for unit in units)
    if character == " ":
        yield r"\+"
    if code > 0x7F:
        yield re.escape(data.decode("latin-1"))


def _in_base64(key: bytes) -> Iterator[str]:
    """Yield the base64 spellings of a key inside a longer text (`Basic user:key`), for its three possible offsets.

    The characters at both ends also contain bits of the neighbours, and are left out.
    """
    for before in range(3):
        whole = base64.b64encode(bytes(before) + key).decode().rstrip("=")
        first = (0, 2, 3)[before]
        last = len(whole) if (before + len(key)) % 3 == 0 else len(whole) - 1
        yield whole[first:last]
        yield whole[first:last].translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")


# ---- credentials in URLs: `https://user:password@host` and `https://host/?api-key=…`

_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s\"'<>/?#]*@", re.IGNORECASE)
_QUERY_NAMES = "key|token|secret|signature|sig|pass|pwd|auth|credential|code"
_QUERY = re.compile(rf"([?&;][\w.%-]*(?:{_QUERY_NAMES})[\w.%-]*=)([^&;#\s\"'<>]+)", re.IGNORECASE)
_HOST = re.compile(r"(\[[^\]]*\]|[^:@\[\]]*)(:\d*)?")
_SHORTEST_PART = 4
"""Characters of a part that is searched for on its own: a shorter one may be part of words."""


def without_credentials(text: str) -> str:
    """Return the text with the user, the password and the query keys of each URL in it replaced."""
    return _QUERY.sub(rf"\1{REDACTED}", _USER.sub(rf"\1{REDACTED}@", text))


def has_credentials(url: str) -> bool:
    return any(True for _ in _parts(url))


def credentials_of(url: str) -> set[str]:
    """Return the secret parts of a URL, quoted and unquoted.

    A password may contain characters that should have been quoted: then an error quotes only a part of it.
    """
    parts = set(_parts(url))
    for whole in tuple(parts):
        password = whole.partition(":")[2]
        parts |= {password, *re.split("[:/@?#]", password)}  # not the user, which may be any word
    return {part for each in parts for part in (each, unquote(each)) if len(part) >= _SHORTEST_PART}


def _parts(url: str) -> Iterator[str]:
    scheme, found, rest = url.partition("://")
    yield from _users(rest if found else scheme)
    yield from (found[2] for found in _QUERY.finditer(url))


def _users(rest: str) -> set[str]:
    """Return the parts before the host (RFC 3986, 3.2.1); an `@` after the host belongs to the path or the query.

    A password may contain an `@`, `/`, `?` or `#` that should have been quoted. In that case the apparent host is
    invalid, or another `@` follows.
    """
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if _HOST.fullmatch(authority):
        return set()
    return {part.rpartition("@")[0] for part in (authority, rest)} - {""}
