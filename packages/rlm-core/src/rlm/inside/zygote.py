"""The process that starts kernels, knows when they end, and leaves nothing behind.

`python -P -m rlm.inside.zygote FD MARK [SHARED...]`: a socket to the host, one JSON object a line each way. For the
first kernel it imports IPython and ipykernel and builds a kernel; then it forks for each: no thread and no zmq context
may exist here.
Where a fork will not do (macOS) the request names a program to run instead. When the host is gone, however it
went, the socket ends, and everything below this process is killed.

To us:  {"do": "start", "id", "launch", "env", "cwd", "program": null or [...], "sandbox": "" or a handle}
        {"do": "interrupt", "id"}              SIGINT
        {"do": "sweep", "id", "since"}         kill what the kernel started since then (CLOCK_BOOTTIME)
        {"do": "kill", "id"}                   kill it, and all that it started
From us: {"id", "status", "log"} when it ended (as of waitpid) and what it wrote to its log, {"id", "gone"} when nothing
of it is left, {"id", "swept"}
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rlm.inside import enter_sandbox
from rlm.inside.launch import adopt, read_launch
from rlm.process import files, process_tree
from rlm.process.pipes import BoundedLog
from rlm.process.signals import reset_signals

if TYPE_CHECKING:
    from rlm.inside.kernel import RlmKernel

_REST = 16  # blocks of a log that are read when its kernel has ended: as much as a pipe can hold


@dataclass(slots=True)
class Child:
    id: int
    pid: int
    mark: str
    log: BoundedLog
    """What it writes to the descriptors 1 and 2 that it was started with."""
    sandbox_init: int = 0
    """The first process of its sandbox."""
    status: int | None = None

    def descendants(self) -> list[process_tree.Process]:
        return process_tree.descendants(self.pid, self.mark, self.sandbox_init)


class ZygoteProcess:
    def __init__(self, host: socket.socket, mark: str, shared: list[int]) -> None:
        self._shared = shared
        self._host = host
        self._mark = mark
        self._kernel: RlmKernel | None = None
        self._children: dict[int, Child] = {}
        self._unread = b""
        self._wake, self._woken = socket.socketpair()
        self._verbs: dict[str, Callable[[dict[str, Any]], None]] = {
            "start": self._start,
            "interrupt": self._interrupt,
            "sweep": self._sweep,
            "kill": self._kill,
        }

    def run(self) -> None:
        """Until the host closes the socket."""
        self._listen_for_children()
        with selectors.DefaultSelector() as selector:
            selector.register(self._host, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            self._selector = selector
            while self._turn():
                pass
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        process_tree.kill_until_gone(partial(process_tree.below, os.getpid()), self._wait)

    def _turn(self) -> bool:
        ready = {key.fileobj for key, _ in self._selector.select()}
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
            self._reap()
        for child in list(self._children.values()):
            if child.log in ready and not child.log.drain():
                self._selector.unregister(child.log)
        return self._host not in ready or self._read_requests()

    def _listen_for_children(self) -> None:
        """A handler that does nothing: what wakes us is the byte that Python writes to the socket."""
        self._wake.settimeout(0)
        self._woken.settimeout(0)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _read_requests(self) -> bool:
        """False: the host is gone."""
        try:
            data = self._host.recv(1 << 20)
        except ConnectionResetError:
            return False
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            self._verbs[request["do"]](request)
        return bool(data)

    def _report(self, **what: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is noticed where we read
            self._host.sendall(json.dumps(what).encode() + b"\n")

    # ---- starting

    def _start(self, request: dict[str, Any]) -> None:
        mark = f"{self._mark}-{request['id']}"
        request["env"][process_tree.MARK] = mark
        if self._kernel is None and not request["program"]:
            self._kernel = _build_kernel()
        _preload(request["modules"])
        zygote, log = os.getpid(), BoundedLog()
        pid = os.fork()
        if pid == 0:
            self._be_kernel(request, zygote, log.end)
        log.close_end()
        self._selector.register(log, selectors.EVENT_READ)
        self._children[request["id"]] = Child(
            request["id"], pid, mark, log, int(request["sandbox"].partition("-")[0] or 0)
        )

    def _be_kernel(self, request: dict[str, Any], zygote: int, log: int) -> None:
        """In the new process. Does not return."""
        status = 1
        try:
            enter_sandbox.die_with(zygote)
            _redirect(log)
            self._detach()
            if request["sandbox"]:
                # what enters a sandbox keeps its executable, which must not be a file of the host
                if not os.readlink("/proc/self/exe").startswith("/memfd:"):  # noqa: PTH115 - pathlib has nothing to add
                    raise PermissionError("this zygote was not started for sandboxes")
                enter_sandbox.enter(request["sandbox"], seen=True)
                os.chdir(request["cwd"])  # links lead to what is in the sandbox
            else:
                files.change_to(request["cwd"])
            if request["program"]:
                os.execve(request["program"][0], request["program"], request["env"])  # noqa: S606 - no shell is wanted
            adopt(request["env"])
            from rlm.inside.kernel import serve

            assert self._kernel is not None
            serve(self._kernel, read_launch(request["launch"]), f"{request['launch']}.d")
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException as error:  # noqa: BLE001 - the log is all that can be written
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
        finally:
            with contextlib.suppress(Exception):
                atexit._run_exitfuncs()
            os._exit(status)

    def _detach(self) -> None:
        """From what belongs to the zygote alone."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (self._host, self._wake, self._woken):
            end.close()
        _close_all_but(self._shared)  # what a library may have left open
        gc.enable()

    # ---- ending

    def _interrupt(self, request: dict[str, Any]) -> None:
        child = self._children.get(request["id"])
        if child and child.status is None:
            os.kill(child.pid, signal.SIGINT)

    def _sweep(self, request: dict[str, Any]) -> None:
        child = self._children.get(request["id"])
        if child and child.status is None:
            process_tree.kill(process for process in child.descendants() if process.born >= request["since"])
        self._report(id=request["id"], swept=True)

    def _kill(self, request: dict[str, Any]) -> None:
        child = self._children.get(request["id"])
        if child is None:
            self._report(id=request["id"], gone=True)
        elif child.status is None:
            os.kill(child.pid, signal.SIGKILL)  # the rest follows when it is reaped

    def _reap(self) -> None:
        """Of each kernel that ended, say so at once, then kill what it started."""
        while ended := self._ended():
            for child in ended:
                self._report(id=child.id, status=child.status, log=self._log_of(child))
            for child in ended:
                process_tree.kill_until_gone(child.descendants, self._wait)
                self._report(id=child.id, gone=True)

    def _ended(self) -> list[Child]:
        self._wait()
        ended = [child for child in self._children.values() if child.status is not None]
        for child in ended:
            del self._children[child.id]
        return ended

    def _log_of(self, child: Child) -> str:
        """All of it. What others go on to write there is lost."""
        child.log.drain(_REST)
        with contextlib.suppress(KeyError):  # its end came before
            self._selector.unregister(child.log)
        child.log.close()
        return child.log.text()

    def _wait(self) -> None:
        """Note how kernels ended; of adopted orphans there is nothing to note."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                for child in self._children.values():
                    if child.pid == found[0]:
                        child.status = found[1]


def _redirect(log: int) -> None:
    """Nothing of the host's terminal or pipes reaches a kernel."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _close_all_but(kept: list[int]) -> None:
    """Of the descriptors above those of stdin, stdout and stderr."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, enter_sandbox.MOST_FILES)


def _build_kernel() -> RlmKernel:
    """The kernel that all others are forks of."""
    gc.disable()  # what is made here stays for ever; looking through it again and again is a third of the start
    from rlm.inside.kernel import build, warm

    kernel = build()
    warm(kernel)
    gc.freeze()  # so that no collection in a fork touches, and so copies, the pages that all share
    return kernel


def _preload(modules: list[str]) -> None:
    """What the kernels that follow have in common: the import of pandas takes 50 MB, and a fork of it a few.

    Only from where our own Python has its packages, and nothing that leaves a thread: numpy's OpenBLAS ends its threads
    before a fork (pthread_atfork). What cannot be imported is missing, and the kernel will say so itself.
    """
    for name in modules:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
            gc.freeze()


def main() -> None:
    reset_signals()
    host = int(sys.argv[1])
    shared = [int(number) for number in sys.argv[3:]]
    _close_all_but([host, *shared])  # the copy that we were started from
    for descriptor in shared:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - for kernels, not for what they start
    process_tree.adopt_orphans()
    ZygoteProcess(socket.socket(fileno=host), sys.argv[2], shared).run()
    os._exit(0)  # the host waits for our end, and Python would take 30 ms to take IPython apart


if __name__ == "__main__":
    main()
