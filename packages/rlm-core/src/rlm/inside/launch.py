"""What a kernel gets when it starts: a Jupyter connection file with a part of our own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KernelLaunch:
    """Endpoints in zmq's notation. `crash` is the path of the `CrashBuffer`.

    `context` is what the name `context` shall hold: `pickle` or `file`, and a path.
    """

    shell: str
    iopub: str
    key: bytes
    crash: str
    context: tuple[str, str] | None = None


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
    )
