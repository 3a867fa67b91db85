"""Read the front matter of a SKILL.md (https://agentskills.io/specification).

The format is YAML, but such files use only a part of it: plain, quoted and block scalars, one map (metadata), sometimes
a list. This reader supports that part, tolerates the rest, and needs no YAML library. Unknown keys are ignored.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_FENCE = re.compile(r"---[ \t]*")
_KEY = re.compile(r"""(["']?)([A-Za-z0-9_.-]+)\1[ \t]*:(?:[ \t]+(.*))?$""")
_BLOCK = re.compile(r"([|>])[-+0-9]*(?:[ \t]+#.*)?$")
_TOOL = re.compile(r"""[^\s,()"'\[\]]+(?:\([^)]*\))?""")
_ESCAPE = re.compile(r"""\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)""", re.S)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "e": "\x1b", "\n": " "}


class FrontMatterError(ValueError):
    """A SKILL.md has no front matter, or its front matter does not end."""


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The fields of a SKILL.md. A field that the file lacks is empty."""

    name: str = ""
    description: str = ""
    license: str = ""
    compatibility: str = ""
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    allowed_tools: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The description on one line."""
        return " ".join(self.description.split())


def read_front_matter(text: str) -> FrontMatter:
    """Read the front matter at the head of a SKILL.md.

    Args:
        text: The file's text; a byte-order mark and CRLF are fine.

    Raises:
        FrontMatterError: If the file does not begin with `---`, or a second `---` never comes.
    """
    fields = {key: _Raw(value, lines) for key, value, lines in _items(_between_fences(text))}
    return FrontMatter(
        name=_scalar(fields.get("name")),
        description=_scalar(fields.get("description")),
        license=_scalar(fields.get("license")),
        compatibility=_scalar(fields.get("compatibility")),
        metadata=MappingProxyType(_map(fields.get("metadata"))),
        allowed_tools=tuple(_TOOL.findall(_scalar(fields.get("allowed-tools")))),
    )


@dataclass(frozen=True, slots=True)
class _Raw:
    """A key's value as written: the text on its line, and the deeper lines below it."""

    head: str
    below: list[str]


def _between_fences(text: str) -> list[str]:
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    if not _FENCE.fullmatch(lines[0]):
        raise FrontMatterError("the file does not begin with a line `---`")
    for number, line in enumerate(lines[1:], 1):
        if _FENCE.fullmatch(line):
            return lines[1:number]
    raise FrontMatterError("no second line `---` ends the front matter")


def _items(lines: list[str]) -> list[tuple[str, str, list[str]]]:
    """Group lines into (key, value on its line, deeper lines). Other lines are skipped."""
    items: list[tuple[str, str, list[str]]] = []
    for line in lines:
        key = _KEY.match(line)
        if key:
            items.append((key[2], (key[3] or "").strip(), []))
        elif items and (not line.strip() or line[0] in " \t-"):
            items[-1][2].append(line)
    return items


def _scalar(raw: _Raw | None) -> str:
    if raw is None:
        return ""
    block = _BLOCK.match(raw.head)
    if block:
        filled = [line for line in raw.below if line.strip()]
        margin = min((len(line) - len(line.lstrip()) for line in filled), default=0)
        text = "\n".join(line[margin:].rstrip() for line in raw.below).strip("\n")
        return re.sub(r"(?<!\n)\n(?!\n)", " ", text) if block[1] == ">" else text
    head = _bare(raw.head)
    if head[:1] in ('"', "'"):
        return _quoted("\n".join([head, *(line.strip() for line in raw.below)]))
    words = [head, *(_bare(line.strip()).removeprefix("- ") for line in raw.below)]
    return " ".join(word for word in words if word)


def _bare(text: str) -> str:
    """Remove a comment from a plain value."""
    if text.startswith("#"):
        return ""
    return text if text[:1] in ('"', "'") else re.split(r"[ \t]#", text, maxsplit=1)[0].strip()


def _quoted(text: str) -> str:
    """Read a quoted scalar, which may span several lines. Without a closing quote, the text is used as it is."""
    quote = text[0]
    pattern = r'"((?:[^"\\]|\\.)*)"' if quote == '"' else r"'((?:[^']|'')*)'"
    match = re.match(pattern, text, re.S)
    if not match:
        return text
    if quote == "'":
        return match[1].replace("''", "'").replace("\n", " ")
    lines = re.sub(r"(?<!\\)\n", " ", match[1])
    return _ESCAPE.sub(_unescape, lines)


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 1:
        return _ESCAPED.get(code, code)
    point = int(code[1:], 16)
    return chr(point) if point <= sys.maxunicode else match[0]


def _map(raw: _Raw | None) -> dict[str, str]:
    if raw is None:
        return {}
    if raw.head.startswith("{"):
        lines = [part.strip() for part in raw.head.strip("{} ").split(",")]
    else:
        lines = [line.strip() for line in raw.below]
    return {key: _scalar(_Raw(value, below)) for key, value, below in _items(lines)}
