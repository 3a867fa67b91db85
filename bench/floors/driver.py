"""A bare ipykernel, driven by jupyter_client over ipc."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

Launch = Callable[[str], int]
"""Starts a kernel on a connection file; returns its process id."""

TIME_LIMIT = 120.0


def cold(connection_file: str) -> int:
    """Start a new Python."""
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", connection_file, "--IPKernelApp.quiet=True"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid


class Kernel:
    """Reads messages directly from the sockets: the channels' own methods start an event loop for each message."""

    def __init__(self, launch: Launch = cold) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="floor-"))
        sockets = str(self._folder / "s")
        file, _ = write_connection_file(str(self._folder / "c.json"), transport="ipc", ip=sockets, key=b"bench")
        self._pid = launch(file)
        self._client = BlockingKernelClient(connection_file=file)
        self._client.load_connection_file()
        self._client.start_channels(stdin=False, hb=False)
        self._ready = False

    def run(self, code: str) -> str:
        """Run a cell; return its text after its reply and its idle status have arrived."""
        if not self._ready:
            self._wait()
        request = self._client.execute(code, allow_stdin=False)
        output: list[str] = []
        while (message := self._iopub(request, TIME_LIMIT)) and message["content"].get("execution_state") != "idle":
            output.append(_text(message))
        self._shell(request)
        return "".join(output)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._client.stop_channels()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        """Wait for the first message on iopub, which may still be unconnected when the shell answers."""
        while not self._ready:
            request = self._client.kernel_info()
            self._shell(request)
            self._ready = self._iopub(request, 0.02) is not None

    def _shell(self, request: str) -> None:
        while self._receive(self._client.shell_channel.socket, TIME_LIMIT)["parent_header"].get("msg_id") != request:
            pass

    def _iopub(self, request: str, seconds: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = self._receive(self._client.iopub_channel.socket, left)
            except TimeoutError:
                return None
            if message["parent_header"].get("msg_id") == request:
                return message
        return None

    def _receive(self, socket: Any, seconds: float) -> dict[str, Any]:
        if not socket.poll(seconds * 1000):
            raise TimeoutError
        _, message = self._client.session.recv(socket, mode=0)
        return dict(message or {})


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return str(content.get("text") or content.get("data", {}).get("text/plain", ""))
