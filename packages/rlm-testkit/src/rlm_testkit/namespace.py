"""A mount namespace: its mounts are invisible outside, and end with it. No root is needed."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from types import TracebackType
from typing import Self

from rlm_testkit.cli import Rlm


class Namespace:
    """A namespace that exists for the duration of a `with` block."""

    def __enter__(self) -> Self:
        """
        Raises:
            RuntimeError: this system does not allow user namespaces.
        """
        words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "echo there; exec cat"]
        self._keeper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._keeper.stdout is not None
        if not self._keeper.stdout.readline():
            _, stderr = self._keeper.communicate()
            raise RuntimeError(f"user namespaces are needed for disks that are full or read-only: {stderr.decode()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._keeper.communicate()

    @property
    def _enter(self) -> str:
        return f"nsenter --target {self._keeper.pid} --user --mount --preserve-credentials --"

    def run(self, command: str) -> None:
        """Run a shell command in the namespace."""
        done = subprocess.run(
            ["bash", "-c", f"{self._enter} sh -ec {shlex.quote(command)}"], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def put_in(self, rlm: Rlm) -> Rlm:
        """The same command, run in the namespace."""
        inside = rlm.folder / "inside"
        go = f'cd "$0" && exec {shlex.quote(str(rlm.command))} "$@"'  # the new root needs a new chdir
        inside.write_text(f'#!/bin/sh\nexec {self._enter} sh -c {shlex.quote(go)} "$PWD" "$@"\n')
        inside.chmod(0o755)
        return replace(rlm, command=inside)
