"""The specification of a kernel, and its files in the runtime folder: launch file, sockets and crash file.

`rlm.inside.launch` reads the launch file. A cell can change all of these files, since the kernel can write the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Literal

from rlm.errors import KernelError
from rlm.process import files
from rlm.text.bounded import Quota


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """How to start a kernel.

    Args:
        cwd: working directory of cells.
        env: the complete environment of cells. It contains no credentials.
        run_dir: private folder (0700) for sockets; its path has at most 80 bytes.
        outputs: folder for pictures and for outputs that are too long; created when needed.
        quota: how much disk space outputs may use.
        max_output: maximum characters of a result, None for no limit.
        context: the variable `context` of cells: the pickle of an object, or a text file. Loaded at its first use.
        servers: MCP servers, each with the name of its variable in the kernel.
        modules: modules that the zygote imports before it forks the kernel; all later kernels share their memory.
        program: the command to run instead of a fork of a warm process; the path of the launch file is appended.
        sandbox_handle: returns the handle of the sandbox, as `rlm.inside.enter_sandbox` takes it; None: no sandbox.
    """

    cwd: Path
    env: Mapping[str, str]
    run_dir: Path
    outputs: Path
    max_output: int | None = None
    quota: Quota | None = None
    context: tuple[Literal["pickle", "file"], Path] | None = None
    modules: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    sandbox_handle: Callable[[], Awaitable[str]] | None = None
    servers: tuple[tuple[str, str], ...] = ()


class KernelFiles:
    """The paths of a kernel's files. The kernel reads `launch` at its start; the other names are derived from it."""

    def __init__(self, run_dir: Path, number: int) -> None:
        # a later kernel gets a random part: an earlier kernel may have created files under names that it could guess
        self.launch = run_dir / (f"k{number}" if number == 1 else f"k{number}-{token_hex(4)}")
        self.shell, self.iopub = f"{self.launch}-1", f"{self.launch}-2"
        self.crash = self.launch.with_suffix(".crash")

    def write(self, spec: KernelSpec, key: str) -> None:
        """Write the launch file.

        Raises:
            KernelError: no kernel can be started with this specification.
        """
        if spec.sandbox_handle is None and not spec.cwd.is_dir():  # with a sandbox, only its processes check folders
            raise KernelError(f"A kernel could not be started: its folder {spec.cwd} no longer exists.")
        if len(os.fsencode(self.launch)) > 90:
            raise KernelError(f"The path of the runtime folder {spec.run_dir} is too long for sockets.")
        context = spec.context
        content = {  # a Jupyter connection file; the key "rlm" is our addition
            "transport": "ipc",
            "ip": str(self.launch),
            "shell_port": 1,
            "iopub_port": 2,
            "key": key,
            "signature_scheme": "hmac-sha256",
            "rlm": {
                "context": [context[0], str(context[1].absolute())] if context else None,
                "servers": spec.servers,
            },
        }
        try:
            files.write_new(self.launch, json.dumps(content).encode())
        except OSError as error:
            raise KernelError(f"A kernel could not be started: {error}") from error

    def remove(self) -> None:
        for path in (self.launch, self.crash, self.shell, self.iopub):
            with contextlib.suppress(OSError):  # a cell put a folder there; it is removed with the runtime folder
                files.remove(path)
        files.remove_tree(f"{self.launch}.d")
