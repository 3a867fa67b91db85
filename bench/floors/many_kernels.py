"""Many plain ipykernels, one cell each: new processes, or forks of one with all imports done.

    python many_kernels.py cold|forked COUNT AT_ONCE

With COUNT = AT_ONCE, all of them run at the same time at the end.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.floors.driver import Launch


WARM = (
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "ipykernel.debugger",
    "IPython.extensions.storemagic",
    "IPython.core.completerlib",
    "psutil",
    "sqlite3",
    "tornado.platform.asyncio",
    "pydoc",
    "faulthandler",
    "cProfile",
)
"""Modules that a kernel imports at its start."""


class Zygote:
    """Forks a kernel for each connection file. It uses no thread and no socket library."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        parent_end, child_end = socket.socketpair()
        if os.fork() == 0:
            parent_end.close()
            _serve(child_end)
        child_end.close()
        self._lines = parent_end.makefile("rw")

    def launch(self, connection_file: str) -> int:
        with self._lock:
            self._lines.write(connection_file + "\n")
            self._lines.flush()
            return int(self._lines.readline())


def _serve(requests: socket.socket) -> None:
    import gc

    sys.modules["debugpy"] = None  # type: ignore[assignment]  # a third of a second for a debugger that nobody asks for
    for name in WARM:
        import_module(name)
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the ended children
    gc.freeze()
    lines = requests.makefile("rw")
    for line in lines:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            IPKernelApp.launch_instance(argv=["-f", line.strip(), "--IPKernelApp.quiet=True"])
            os._exit(0)
        lines.write(f"{child}\n")
        lines.flush()
    os._exit(0)


def main() -> None:
    start, count, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    forked = Zygote().launch if start == "forked" else None
    from bench.floors.driver import Kernel, cold

    def one(launch: Launch) -> Kernel:
        kernel = Kernel(launch)
        kernel.run("1+1")
        if at_once < count:
            kernel.kill()
        return kernel

    with ThreadPoolExecutor(at_once) as pool:
        kernels = list(pool.map(one, [forked or cold] * count))
    if at_once == count:
        for kernel in kernels:
            kernel.kill()
    os._exit(0)  # skips the cleanup of contexts and threads, which is no part of the floor


if __name__ == "__main__":
    main()
