"""The title of a call, in one line: its first informative statement or command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from rlm.present.describe import first_line
from rlm.present.diffs import diff_of, edit_size

_TELLING = ("code", "command", "path", "summary")
"""The argument of a tool that describes a call best."""
_SEARCHED = 5_000
"""Maximum characters of code that are searched."""

_SHELL = re.compile(r"%%(bash|sh|script|system|!)\b.*|%%!.*")
"""Magics after which the rest of the cell is for a shell."""
_DULL = re.compile(
    r"#|@\w|(from|import)\s|(try|else|finally|pass)\s*:?\s*$"
    r"|%(matplotlib|load_ext|reload_ext|autoreload|config|pylab|reset)\b|%%(time|timeit|capture)\b"
    r"|sys\.path\.|os\.chdir\(|warnings\.(filter|simplefilter)|logging\.basicConfig\(|nest_asyncio\.|pd\.set_option\("
    r"|(pd|plt|sns)\.(options|style|rcParams|set_theme)\b"
)
"""Uninformative lines: imports, comments, decorators, settings."""
_DULL_COMMAND = re.compile(r"#|set\s+[-+]|(export\s+)?\w+=\S*\s*$|cd\s+\S+\s*$|source\s|\.\s")
_IMPORT = re.compile(r"(from\s+\S+\s+)?import\s")
_QUOTES = re.compile(r"[rbuRBU]{0,2}(\"\"\"|''')")


def title(tool: str, arguments: str) -> str:
    """The title of a call. The model wrote `arguments`, which may be invalid JSON."""
    try:
        values = json.loads(arguments)
    except (ValueError, RecursionError):
        return first_line(arguments)
    if not isinstance(values, dict):
        return first_line(arguments)
    if tool == "edit" and diff_of(values):
        return f"{first_line(values['path'])} {edit_size(values)}"
    name = next((name for name in _TELLING if isinstance(values.get(name), str)), "")
    if name not in ("code", "command"):
        return first_line(values.get(name) or arguments)
    return code_title(values[name], commands=name == "command" or tool == "bash")


def code_title(code: str, *, commands: bool = False) -> str:
    """The first informative line, marked if more of them follow."""
    code = code[:_SEARCHED]
    first, _, rest = code.lstrip().partition("\n")
    if not commands and _SHELL.match(first):
        inner = code_title(rest, commands=True)
        return f"{first.split()[0]} {inner}".rstrip()
    lines = _telling_commands(code) if commands else _telling_statements(code)
    found, more = next(lines, ""), next(lines, "")
    return first_line(f"{found}\n…" if more else found) if found else first_line(code)


def _telling_commands(command: str) -> Iterator[str]:
    for line in command.splitlines():
        if line.strip() and not _DULL_COMMAND.match(line.strip()):
            yield line.strip()


def _telling_statements(code: str) -> Iterator[str]:
    """The informative lines. The code is not parsed: a cell may contain magics, commands and errors."""
    end = ""  # end of an uninformative statement that spans several lines
    for line in map(str.strip, code.splitlines()):
        if end:
            end = "" if end in line else end
        elif quoted := _QUOTES.match(line):
            end = "" if quoted[1] in line[quoted.end() :] else quoted[1]
        elif _IMPORT.match(line):
            end = ")" if "(" in line and ")" not in line else ""
            behind = map(str.strip, line.split(";")[1:])  # `import os; os.listdir()`
            yield from (statement for statement in behind if statement and not _DULL.match(statement))
        elif line and not _DULL.match(line):
            yield line
