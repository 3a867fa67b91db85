"""The files of one kernel in the runtime folder: what it reads at its start, and its sockets.

`rlm.inside.launch` reads the first. A cell can change all of them, since the folder is the kernel's too.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from secrets import token_hex
from typing import Any

from rlm.errors import KernelError
from rlm.kernel.spec import KernelSpec
from rlm.process import files


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
        try:
            files.write_new(self.launch, json.dumps(self._content(spec, key)).encode())
        except OSError as error:
            raise KernelError(f"A kernel could not be started: {error}") from error

    def _content(self, spec: KernelSpec, key: str) -> dict[str, Any]:
        """A Jupyter connection file with a part of our own."""
        context = spec.context
        return {
            "transport": "ipc",
            "ip": str(self.launch),
            "shell_port": 1,
            "iopub_port": 2,
            "key": key,
            "signature_scheme": "hmac-sha256",
            "rlm": {"context": [context[0], str(context[1].absolute())] if context else None},
        }

    def remove(self) -> None:
        for path in (self.launch, self.crash, self.shell, self.iopub):
            with contextlib.suppress(OSError):  # a cell put a folder in its place; it goes with the runtime folder
                files.remove(path)
        files.remove_tree(f"{self.launch}.d")
