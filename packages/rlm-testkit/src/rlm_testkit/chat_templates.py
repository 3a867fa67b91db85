"""The chat templates in the package `trl`, rendered as transformers does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rlm_testkit.found_uv import UV

TRL = "trl>=1.16"


def shipped(folder: Path) -> dict[str, Template]:
    """All templates of trl's wheel, by name.

    Its dependencies (torch) are not installed; without an index this fails.
    """
    options = ("--quiet", "--no-deps", "--python", sys.executable)
    command: list[str | Path] = [UV, "pip", "install", *options, "--target", folder, TRL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"trl cannot be installed: {done.stderr}"
    environment = _environment()
    files = sorted(folder.glob("trl/chat_templates/*.jinja"))
    assert files, "trl has moved its templates"
    return {file.stem: environment.from_string(file.read_text()) for file in files}


class _Generation(Extension):
    """`{% generation %}` marks the model's text. This extension only passes the text through."""

    tags = frozenset({"generation"})  # type: ignore[assignment]  # jinja2 says set, and only reads it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda _: "26 Nov 2026"
    return environment


def _tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, **({"ensure_ascii": False} | options))


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
