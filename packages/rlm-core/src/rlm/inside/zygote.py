"""The process that starts kernels, reports their end, and kills all processes that they leave.

`python -P -m rlm.inside.zygote FD MARK [SHARED...]`: FD is a socket to the host, with one JSON object per line each
way. For the first kernel the zygote imports IPython and ipykernel and builds a kernel; then it forks for each kernel.
So it must have no thread and no zmq context. On a system where a fork does not work (macOS), the request names a
program to run instead. When the host ends for any reason, the socket closes, and the zygote kills all processes below
it.

To us:  {"do": "start", "id", "launch", "env", "cwd", "program": null or [...], "sandbox": "" or a handle, "modules"}
        {"do": "interrupt", "id"}              send SIGINT
        {"do": "sweep", "id", "since"}         kill the processes that the kernel started since then (CLOCK_BOOTTIME)
        {"do": "kill", "id"}                   kill the kernel, and all processes that it started
From us: {"id", "status", "log"} when a kernel has ended: its status of waitpid, and its log
        {"id", "gone"} when all processes that it started have ended
        {"id", "swept"} when a sweep is done
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

_REST = 16  # blocks of a log to read after its kernel has ended: as much as a pipe can hold


@dataclass(slots=True)
class Child:
    id: int
    pid: int
    mark: str
    log: BoundedLog
    """The output to the descriptors 1 and 2 that it was started with."""
    sandbox_init: int = 0
    """The id of the first process in its sandbox; 0 without a sandbox."""
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
        """Serve requests until the host closes the socket."""
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
        """Get a byte on a socket for each SIGCHLD: Python writes it, if the signal has a handler. Ours does nothing."""
        self._wake.settimeout(0)
        self._woken.settimeout(0)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _read_requests(self) -> bool:
        """Handle the requests that have arrived. False: the host has closed the socket."""
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
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the next read notices the host's end
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
        """Become the kernel, in the new process. Does not return."""
        status = 1
        try:
            enter_sandbox.die_with(zygote)
            _redirect(log)
            self._detach()
            if request["sandbox"]:
                # the process keeps its executable in the sandbox, so this must not be a file of the host
                if not os.readlink("/proc/self/exe").startswith("/memfd:"):  # noqa: PTH115 - pathlib has nothing to add
                    raise PermissionError("this zygote was not started for sandboxes")
                enter_sandbox.enter(request["sandbox"], seen=True)
                os.chdir(request["cwd"])  # links can only lead to folders of the sandbox
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
        except BaseException as error:  # noqa: BLE001 - only the log can report it
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
        finally:
            with contextlib.suppress(Exception):
                atexit._run_exitfuncs()
            os._exit(status)

    def _detach(self) -> None:
        """Release what belongs only to the zygote."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (self._host, self._wake, self._woken):
            end.close()
        _close_all_but(self._shared)  # a library may have left descriptors open
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
            os.kill(child.pid, signal.SIGKILL)  # `_reap` kills the processes that it started

    def _reap(self) -> None:
        """Report each kernel that has ended at once, then kill the processes that it started."""
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
        """Return the whole log, and close it. What other processes write to it later is lost."""
        child.log.drain(_REST)
        with contextlib.suppress(KeyError):  # it was unregistered when its end was read
            self._selector.unregister(child.log)
        child.log.close()
        return child.log.text()

    def _wait(self) -> None:
        """Note the status of each kernel that has ended. Adopted orphans are only reaped."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                for child in self._children.values():
                    if child.pid == found[0]:
                        child.status = found[1]


def _redirect(log: int) -> None:
    """Replace descriptors 0 to 2, so that a kernel has no terminal or pipe of the host."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _close_all_but(kept: list[int]) -> None:
    """Close all descriptors above 2 except these."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, enter_sandbox.MOST_FILES)


def _build_kernel() -> RlmKernel:
    """Build the kernel that all others are forks of."""
    gc.disable()  # these objects are never freed, and repeated collections would take a third of the start
    from rlm.inside.kernel import build, warm

    kernel = build()
    warm(kernel)
    gc.freeze()  # so that no collection in a fork writes to the shared pages, which would copy them
    return kernel


def _preload(modules: list[str]) -> None:
    """Import modules that all later kernels share: the import of pandas takes 50 MB, and a fork of it a few MB.

    Only from the package folders of our own Python, and only modules that leave no thread: numpy's OpenBLAS ends its
    threads before a fork (pthread_atfork). A module that cannot be imported is skipped; the kernel reports that itself.
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
    _close_all_but([host, *shared])  # closes the sealed copy that we were started from
    for descriptor in shared:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - for kernels, not for the programs that they start
    process_tree.adopt_orphans()
    ZygoteProcess(socket.socket(fileno=host), sys.argv[2], shared).run()
    os._exit(0)  # the host waits for our end, and a normal exit of Python with IPython takes 30 ms


if __name__ == "__main__":
    main()
