"""Connect a Jupyter client of the user to a running kernel, for `rlm attach`.

The kernel has two of the five channels that clients expect. So the client gets its own connection file: shell and
iopub lead to the kernel, this process answers the heartbeat, and control and stdin never answer.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from rlm.errors import KernelError
from rlm.process import files

if TYPE_CHECKING:
    import zmq

_LAUNCH = re.compile(r"k(\d+)(-[0-9a-f]{8})?")
_SHELL, _IOPUB, _STDIN, _CONTROL, _HEARTBEAT = 1, 2, 3, 4, 5


@contextmanager
def connection_file(run_dir: Path) -> Iterator[Path]:
    """Create a connection file for the newest kernel of the agent with this runtime folder.

    Raises:
        KernelError: the agent has no kernel.
    """
    launch = _newest(run_dir)
    import zmq

    folder = Path(tempfile.mkdtemp(prefix="rlm-"))  # noqa: TID251 - the folder is new
    context = zmq.Context()
    try:
        for channel in (_SHELL, _IOPUB):
            (folder / f"k-{channel}").symlink_to(f"{launch}-{channel}")  # by path: the folder is new and ours
        path = folder / "kernel.json"
        files.write_new(path, json.dumps(_content(launch, folder)).encode())
        sockets = {channel: context.socket(zmq.ROUTER) for channel in (_HEARTBEAT, _STDIN, _CONTROL)}
        for channel, socket in sockets.items():
            socket.bind(f"ipc://{folder / f'k-{channel}'}")
        Thread(target=_echo, args=(sockets[_HEARTBEAT],), daemon=True).start()
        yield path
    finally:  # the sockets are closed when the process ends: closing them here would race with the thread
        files.remove_tree(folder)


def _newest(run_dir: Path) -> Path:
    try:
        names = [found for path in run_dir.iterdir() if (found := _LAUNCH.fullmatch(path.name))]
    except OSError:
        names = []
    if not names:
        raise KernelError("The agent has no kernel now. Its first cell starts one.")
    return run_dir / max(names, key=lambda found: int(found[1]))[0]


def _content(launch: Path, folder: Path) -> dict[str, object]:
    try:
        content = json.loads(files.read(launch))
        key = str(content["key"])
    except (OSError, ValueError, KeyError, TypeError):
        raise KernelError("Its kernel has just ended. Try again.") from None
    return {
        "transport": "ipc",
        "ip": str(folder / "k"),
        "shell_port": _SHELL,
        "iopub_port": _IOPUB,
        "stdin_port": _STDIN,
        "control_port": _CONTROL,
        "hb_port": _HEARTBEAT,
        "key": key,
        "signature_scheme": "hmac-sha256",
        "kernel_name": "rlm",
    }


def _echo(heartbeat: zmq.Socket[bytes]) -> None:
    import zmq

    with suppress(zmq.ZMQError):  # the context is being closed
        while True:
            heartbeat.send_multipart(heartbeat.recv_multipart())
