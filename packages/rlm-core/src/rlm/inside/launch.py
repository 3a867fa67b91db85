"""The start parameters of a kernel: a Jupyter connection file with an additional part, and the environment.

No other module of a kernel changes the environment.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlm.process.unattended import unattended


@dataclass(frozen=True, slots=True)
class KernelLaunch:
    """The content of a launch file. `shell` and `iopub` are zmq endpoints; `crash` is the path of the `CrashBuffer`.

    `context` is the source of the variable `context`: `pickle` or `file`, and a path. `servers` are MCP servers, each
    with the name of its variable.
    """

    shell: str
    iopub: str
    key: bytes
    crash: str
    context: tuple[str, str] | None = None
    servers: tuple[tuple[str, str], ...] = ()


def read_launch(path: str) -> KernelLaunch:
    content = json.loads(Path(path).read_text())
    address = f"{content['transport']}://{content['ip']}-"
    context = content["rlm"]["context"]
    return KernelLaunch(
        shell=f"{address}{content['shell_port']}",
        iopub=f"{address}{content['iopub_port']}",
        key=content["key"].encode(),
        crash=f"{content['ip']}.crash",
        context=(context[0], context[1]) if context else None,
        servers=tuple((server, variable) for server, variable in content["rlm"]["servers"]),
    )


# ---- the environment


def adopt(environment: Mapping[str, str]) -> None:
    """Replace the environment, as if the process had been started with `environment`."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()


def make_unattended() -> None:
    """Set the environment so that the programs of cells expect no user at a terminal."""
    wanted = unattended(os.environ)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def python_path() -> list[str]:
    """Return the folders that the user adds to Python's search path."""
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
