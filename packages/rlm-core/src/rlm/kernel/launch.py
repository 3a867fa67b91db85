"""What a kernel is started from, and its files in the runtime folder: what it reads at its start, and its sockets.

`rlm.inside.launch` reads the first. A cell can change all of them, since the folder is the kernel's too.
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
        env: the complete environment of cells. Holds no credential.
        run_dir: private folder (0700) for sockets; its path has at most 80 bytes.
        outputs: folder for pictures and for outputs that are too long; made when needed.
        quota: what outputs may take on disk.
        max_output: characters of a result, None for no limit.
        context: what cells get under the name `context`: an object's pickle, or a text file. Loaded when first used.
        servers: MCP servers, each with the variable that stands for it.
        modules: what the kernel has imported when it starts, together with others that have it.
        program: what to run instead of forking the kernel from a warm process; the path of its launch file is appended.
        sandbox_handle: asks for the handle of a sandbox, as `rlm.inside.enter_sandbox` takes it; None: there is none.
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
    """`launch` is the file that it reads at its start; the other names are made of that one."""

    def __init__(self, run_dir: Path, number: int) -> None:
        # a later one with a part that nobody can guess: the one before may have put things in the place of its files
        self.launch = run_dir / (f"k{number}" if number == 1 else f"k{number}-{token_hex(4)}")
        self.shell, self.iopub = f"{self.launch}-1", f"{self.launch}-2"
        self.crash = self.launch.with_suffix(".crash")

    def write(self, spec: KernelSpec, key: str) -> None:
        """
        Raises:
            KernelError: no kernel could be started with these.
        """
        if spec.sandbox_handle is None and not spec.cwd.is_dir():  # what a sandbox has is not ours to look at
            raise KernelError(f"A kernel could not be started: its folder {spec.cwd} is gone.")
        if len(os.fsencode(self.launch)) > 90:
            raise KernelError(f"The path of the runtime folder {spec.run_dir} is too long for sockets.")
        context = spec.context
        content = {  # a Jupyter connection file with a part of our own
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
            with contextlib.suppress(OSError):  # a cell put a folder in its place; it goes with the runtime folder
                files.remove(path)
        files.remove_tree(f"{self.launch}.d")
