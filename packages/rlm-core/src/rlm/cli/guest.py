"""`rlm "task"` where a cell started it: no run of its own, but a child of the cell's agent."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rlm.broker.client import ask
from rlm.broker.wire import OPTIONS, Request
from rlm.cli import exits
from rlm.errors import ConfigError


def run(task: str, given: dict[str, str], address: tuple[str, str]) -> int:
    """Ask the host that the cell belongs to, print the answer, return the exit code.

    Raises:
        AgentError: the child failed or was refused.
        ConfigError: a flag that a sub-agent cannot have.
    """
    if foreign := [name for name in given if name not in OPTIONS]:
        raise ConfigError(f"--{foreign[0].replace('_', '-')} is the host's to set: this is a sub-agent of a cell.")
    path, token = address
    result = asyncio.run(ask(path, Request(token, task, given | {"cwd": str(Path.cwd())})))
    if result.answer:
        print(result.answer)
    sys.stdout.flush()
    return exits.of_stop(result.stop)
