"""`rlm "task"` started by a cell: it creates a child of the cell's agent instead of a run of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from rlm.broker.answers import load_answer
from rlm.broker.client import ask
from rlm.broker.contexts import CONTEXT_FILES
from rlm.broker.protocol import OPTIONS, RunRequest
from rlm.cli.streams import put
from rlm.config.settings import Config, flag
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.process import files
from rlm.text.encodings import decode

_OWN = ("context", "limit_ok", "schema")
"""Settings that this command uses itself; they are no options of the sub-agent."""


def run(task: str, settings: Mapping[str, str], config: Config, address: tuple[str, str]) -> int:
    """Ask the cell's host to run the task, print the answer, return the exit code.

    Raises:
        AgentError: the child failed or was refused.
        ConfigError: a flag is not allowed for a sub-agent.
    """
    options = {name: text for name, text in settings.items() if name not in _OWN}
    if foreign := [name for name in options if name not in OPTIONS]:
        raise ConfigError(f"Only the host can set {flag(foreign[0])}: this is a sub-agent of a cell.")
    path, token = address
    request = RunRequest(token, task, options | {"cwd": str(Path.cwd())})
    if config.schema is not None:
        request = replace(request, schema=decode(files.read(config.schema)))
    folder = Path(path).parent
    with nullcontext() if config.context is None else CONTEXT_FILES.file(config.context, folder) as file:
        result = load_answer(asyncio.run(ask(path, replace(request, context=file))), folder)
    if result.answer:
        put(result.answer)
    return exit_codes.of_stop(result.stop, limit_ok=config.limit_ok)
