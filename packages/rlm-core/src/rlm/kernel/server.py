"""Start kernels with one zygote process for a whole run. The zygote's side is `rlm.inside.zygote`.

`KernelServer.launch`, and `KernelProcess` with `ended`, `interrupt` and `kill`, offer what jupyter_client's
`KernelProvisionerBase` does, so that a kernel on another machine can have the same interface. The base class is not
used, since its import takes 0.35 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from rlm.errors import KernelError
from rlm.kernel.launch import KernelSpec
from rlm.process.pipes import BoundedLog
from rlm.process.process_tree import kill_until_gone, marked

# The same mode as this process: paths and commands are passed as text. (The zygote does not get the user's PYTHONUTF8.)
_UTF8 = ("-X", "utf8") if sys.flags.utf8_mode else ()
# A fork of a process that uses Apple's frameworks crashes. On other systems a kernel is forked.
_PLAIN = (sys.executable, *_UTF8, "-P", "-m", "rlm.inside") if sys.platform == "darwin" else ()
_UNRESPONSIVE = 30.0  # seconds without an answer after which a zygote is killed; killing a kernel's processes takes two
_CLOSING = 5.0  # seconds until a zygote is killed that was asked to end


@dataclass(slots=True)
class KernelProcess:
    """A kernel's process. The result of `ended` is its status from waitpid(2), or None if the status is lost."""

    id: int
    zygote: _ZygoteConnection
    ended: asyncio.Future[int | None]
    gone: asyncio.Future[None]
    swept: asyncio.Future[None] | None = None
    log: str = ""
    """The beginning and the end of its log; set when it has ended."""

    def interrupt(self) -> None:
        self.zygote.send(do="interrupt", id=self.id)

    async def sweep(self, since: float) -> None:
        """Kill the processes that the kernel has started since then (CLOCK_BOOTTIME, seconds).

        Return when they are killed and every earlier interrupt has arrived, so that neither affects the next cell.
        """
        if not self.gone.done():
            self.swept = asyncio.get_running_loop().create_future()
            self.zygote.send(do="sweep", id=self.id, since=since)
            await self._wait_for(self.swept)

    def resolve(self, *, status: int | None = None, gone: bool = False) -> None:
        """Note the end of the process, and with `gone` that all processes that it started are gone too."""
        if not self.ended.done():
            self.ended.set_result(status)
        if gone and not self.gone.done():
            self.gone.set_result(None)
        if gone:
            self.resolve_sweep()

    def resolve_sweep(self) -> None:
        if self.swept is not None and not self.swept.done():
            self.swept.set_result(None)

    async def kill(self) -> None:
        """Kill the kernel and all processes that it started, and wait until they are gone."""
        if not self.gone.done():
            self.zygote.send(do="kill", id=self.id)
            await self._wait_for(self.gone)

    async def _wait_for(self, done: asyncio.Future[None]) -> None:
        """Wait for the zygote's answer. If none comes, kill the zygote: unsandboxed code can stop it (SIGSTOP)."""
        await asyncio.wait({done}, timeout=_UNRESPONSIVE)
        if not done.done():
            self.zygote.process.kill()
            await asyncio.wait({done})


class _ZygoteConnection(asyncio.Protocol):
    """A running zygote and the connection to it.

    No task reads its reports: the end of `asyncio.run` cancels all tasks at once, while agents still end their kernels.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], stderr: BoundedLog, on_end: Callable[[_ZygoteConnection], None]
    ) -> None:
        """`on_end` is called if the zygote ends by itself."""
        self.process = process
        self.stderr = stderr
        self.kernels: dict[int, KernelProcess] = {}
        self.ending: asyncio.Task[None] | None = None
        self.over = False
        """True when we have closed the connection, or the zygote has ended."""
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            report = json.loads(line)
            kernel = self.kernels.get(report["id"])
            if kernel is None:
                continue  # it had ended before the request to kill it arrived
            if "status" in report:
                kernel.log = report["log"]
                kernel.resolve(status=report["status"])
            if "swept" in report:
                kernel.resolve_sweep()
            if "gone" in report:
                del self.kernels[kernel.id]
                kernel.resolve(gone=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature of asyncio
        if not self.over:
            self._on_end(self)

    def close(self) -> None:
        self.over = True
        if self._transport is not None:
            self._transport.close()

    def send(self, **what: Any) -> None:
        """Send a request. If the zygote has ended, do nothing: its kernels have ended too."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(json.dumps(what).encode() + b"\n")

    def drain_stderr(self) -> None:
        """Read what the zygote has written to stderr."""
        if not self.stderr.drain():
            asyncio.get_running_loop().remove_reader(self.stderr)


class KernelServer:
    """The owner of the zygote process. The first launch starts the zygote, and the next launch after it was killed.

    Only a `sealed` zygote can start kernels in a sandbox: it runs from a copy of Python that no kernel can change.
    """

    def __init__(self, *, sealed: bool = False, mark: str | None = None) -> None:
        """`mark` identifies all processes of its kernels, see `Supervisor.new_mark`."""
        self._mark = mark or token_hex(8)
        self._sealed = sealed
        self._shared: list[int] = []
        self._zygote: asyncio.Task[_ZygoteConnection] | None = None
        self._count = 0
        self.last_error = ""
        """The stderr text of a zygote that ended by itself."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def launch(self, spec: KernelSpec, file: Path, sandbox: str) -> KernelProcess:
        """Start a kernel with the launch file `file`, in the sandbox with this handle (empty: in none).

        Raises:
            KernelError: the zygote cannot be started.
        """
        if self._zygote is None:
            self._zygote = asyncio.create_task(self._connect(spec.env))
        zygote = await asyncio.shield(self._zygote)
        loop = asyncio.get_running_loop()
        self._count += 1
        kernel = KernelProcess(self._count, zygote, loop.create_future(), loop.create_future())
        if zygote.over:
            kernel.resolve(gone=True)
            return kernel
        zygote.kernels[kernel.id] = kernel
        program = spec.program or _PLAIN
        zygote.send(
            do="start",
            id=kernel.id,
            launch=str(file),
            env=dict(spec.env),
            cwd=str(spec.cwd),
            program=[*program, str(file)] if program else None,
            sandbox=sandbox,
            modules=spec.modules,
        )
        return kernel

    def share(self, file: int) -> None:
        """Give kernels without a sandbox this descriptor to read, under the same number. Call it before any launch."""
        self._shared.append(file)

    async def close(self) -> None:
        """End the zygote, and kill every process that it started."""
        opened, self._zygote = self._zygote, None
        if opened is not None:
            with contextlib.suppress(KernelError):
                await _shut_down(await opened)

    async def _connect(self, env: Mapping[str, str]) -> _ZygoteConnection:
        ours, theirs = socket.socketpair()
        stderr = BoundedLog()
        try:
            arguments = (self._mark, *map(str, self._shared))
            process = await asyncio.to_thread(_start, theirs, stderr, env, arguments, self._sealed)
        except OSError as error:
            self._zygote = None
            stderr.close()
            ours.close()
            raise KernelError(f"Python could not be started for a kernel: {error}") from error
        finally:
            theirs.close()
            stderr.close_end()
        loop = asyncio.get_running_loop()
        zygote = _ZygoteConnection(process, stderr, self._on_end)
        loop.add_reader(stderr, zygote.drain_stderr)
        await loop.create_unix_connection(lambda: zygote, sock=ours)
        return zygote

    def _on_end(self, zygote: _ZygoteConnection) -> None:
        """The zygote ended by itself."""
        zygote.over, self._zygote = True, None
        zygote.drain_stderr()
        self.last_error = zygote.stderr.text().strip()
        zygote.ending = asyncio.create_task(self._clear_up(zygote))

    async def _clear_up(self, zygote: _ZygoteConnection) -> None:
        """Find and kill the processes that its kernels had started: the kernels ended with it."""
        await _shut_down(zygote)
        await asyncio.to_thread(kill_until_gone, partial(marked, self._mark))


async def _shut_down(zygote: _ZygoteConnection) -> None:
    zygote.close()
    await asyncio.to_thread(_wait, zygote.process)
    asyncio.get_running_loop().remove_reader(zygote.stderr)
    zygote.stderr.close()
    for kernel in zygote.kernels.values():
        kernel.resolve(gone=True)


def _start(
    end: socket.socket, stderr: BoundedLog, env: Mapping[str, str], arguments: Sequence[str], sealed: bool
) -> subprocess.Popen[bytes]:
    """Start the zygote. The `arguments` after the first are descriptors that kernels get.

    -P and no PYTHONPATH: neither the working directory nor the user's modules shadow ours. Kernels get both.
    """
    env = {name: value for name, value in env.items() if not name.startswith(("PYTHON", "RLM_"))}
    env["PYTHONHASHSEED"] = "0"  # for kernels, not for their programs: sets keep their order when cells run again
    with ExitStack() as stack:
        copies = []
        if sealed:
            from rlm.sandbox import sealed_copy  # late: a run without a sandbox starts without its modules

            copies.append(stack.enter_context(sealed_copy(Path(sys.executable).resolve())))
        return subprocess.Popen(
            [sys.executable, *_UTF8, "-P", "-m", "rlm.inside.zygote", str(end.fileno()), *arguments],
            executable=f"/proc/self/fd/{copies[0]}" if sealed else None,
            pass_fds=[end.fileno(), *copies, *map(int, arguments[1:])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr.end,
            start_new_session=True,  # only the host receives Ctrl-C
            cwd="/",
            env=_finding_libraries(env) if sealed else env,
        )


def _finding_libraries(env: dict[str, str]) -> dict[str, str]:
    """Add the folder of libpython: a sealed copy has no folder from which the loader finds it ($ORIGIN in ld.so(8))."""
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return env
    folders = [str(Path(sys.base_prefix) / "lib"), *filter(None, [env.get("LD_LIBRARY_PATH")])]
    return env | {"LD_LIBRARY_PATH": os.pathsep.join(folders)}


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_CLOSING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
