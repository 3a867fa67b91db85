"""Additional output of `-v`: the code of each call, and the end of its output."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rlm.present.diffs import DiffReader, line_style
from rlm.present.humanize import short
from rlm.present.live.row import Row
from rlm.present.live.tree import AgentNow
from rlm.sessions.records import CellStartRecord
from rlm.text.styled import Span, Style, highlighted

OUTPUT = 50
"""Maximum lines of an output."""
LARGEST = 20_000
"""Maximum characters of code or output."""


def code_rows(agent: AgentNow, record: CellStartRecord) -> list[Row]:
    """The arguments of a call, line by line."""
    name = Span(f"  {short(agent.path)}" if short(agent.path) else "", Style.CYAN)
    head = Row((name, Span(f"  [{len(agent.turns)}] {record.tool}", Style.DIM)))
    return [head, *(Row((Span("    │ ", Style.DIM), *line)) for line in _lines(*_code(record)))]


def _code(record: CellStartRecord) -> tuple[str, str]:
    """The text of a call, and its language."""
    try:
        values = json.loads(record.arguments)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return record.arguments, "text"
    if isinstance(values.get("code"), str):
        code = values["code"]
        return code, "bash" if code.lstrip().startswith(("%%bash", "%%sh", "!")) else "python"
    if isinstance(values.get("command"), str):
        return values["command"], "bash"
    return "\n".join(f"{name}: {value}" for name, value in values.items()), "text"


def _lines(text: str, language: str) -> Iterator[list[Span]]:
    line: list[Span] = []
    text = text if len(text) <= LARGEST else f"{text[:LARGEST]}\n…"
    for style, part in highlighted(text.rstrip("\n"), language):
        first, *others = part.split("\n")
        line.append(Span(first, style))
        for other in others:
            yield line
            line = [Span(other, style)]
    yield line


def output_rows(agent: AgentNow) -> list[Row]:
    """The end of a call's output, marked if it is truncated."""
    lines = agent.output[-LARGEST:].rstrip("\n").split("\n")
    more = len(lines) > OUTPUT or len(agent.output) > LARGEST
    head = [Row((Span("      … the beginning is in `rlm show`", Style.DIM),))] if more else []
    reader = DiffReader()
    styles = [line_style(reader.read(line), Style.DIM) for line in lines]
    shown = zip(lines[-OUTPUT:], styles[-OUTPUT:], strict=True)
    return [*head, *(Row((Span(f"      {line}", style),)) for line, style in shown)]
