"""Read a Google-style docstring: the text before the sections, and one text per argument."""

import inspect
import re
from dataclasses import dataclass, field

_SECTION = re.compile(r"(\s*)([A-Z][A-Za-z ]*):\s*$")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(\(.*?\))?\s*:\s*(.*)$")
_ARGS = {"Args", "Arguments", "Parameters"}
_SECTIONS = _ARGS | {
    "Attributes",
    "Example",
    "Examples",
    "Keyword Args",
    "Note",
    "Notes",
    "Raises",
    "Returns",
    "Todo",
    "Warning",
    "Warnings",
    "Yields",
}


@dataclass(frozen=True, slots=True)
class Docstring:
    """The parts of a docstring.

    `text` is everything before the first section, `args` maps each parameter to its text.
    """

    text: str = ""
    args: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first paragraph on one line."""
        return " ".join(self.text.split("\n\n", 1)[0].split())


def read_docstring(doc: str | None) -> Docstring:
    """Read a docstring as it is in the source; None gives an empty one."""
    lines = inspect.cleandoc(doc or "").splitlines()
    text: list[str] = []
    args: dict[str, str] = {}
    section = ""
    body: list[str] = []
    for line in [*lines, "Returns:"]:  # the added header closes the last section
        header = _SECTION.match(line)
        if header and not header[1] and header[2] in _SECTIONS:
            if section in _ARGS:
                args.update(_entries(body))
            section, body = header[2], []
        elif section:
            body.append(line)
        else:
            text.append(line)
    return Docstring("\n".join(text).strip(), args)


def _entries(body: list[str]) -> dict[str, str]:
    """Split a section into `name: text`; deeper lines continue the entry above them."""
    filled = [line for line in body if line.strip()]
    if not filled:
        return {}
    margin = len(filled[0]) - len(filled[0].lstrip())
    entries: dict[str, list[str]] = {}
    words: list[str] = []
    for line in filled:
        entry = _ENTRY.match(line.strip())
        if entry and len(line) - len(line.lstrip()) <= margin:
            words = entries.setdefault(entry[1], [])
            words.append(entry[3])
        else:
            words.append(line.strip())
    return {name: " ".join(parts).strip() for name, parts in entries.items()}
