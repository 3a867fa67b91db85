"""What a kernel is told when it starts: a Jupyter connection file with a part of our own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KernelLaunch:
    """Endpoints in zmq's notation. `words` is the path for `LastWords`.

    `context` is what the name `context` shall hold: `pickle` or `file`, and a path.
    """

    shell: str
    iopub: str
    key: bytes
    words: str
    context: tuple[str, str] | None = None


def read_launch(path: str) -> KernelLaunch:
    told = json.loads(Path(path).read_text())
    address = f"{told['transport']}://{told['ip']}-"
    context = told["rlm"]["context"]
    return KernelLaunch(
        shell=f"{address}{told['shell_port']}",
        iopub=f"{address}{told['iopub_port']}",
        key=told["key"].encode(),
        words=f"{told['ip']}.words",
        context=(context[0], context[1]) if context else None,
    )
