"""Where kernels come from: one zygote process for all of a run. `rlm.inside.zygote` is its other half.

The verbs are those of jupyter_client's `KernelProvisionerBase` (launch, poll, send_signal, kill, cleanup), so that a
kernel on another machine can be put behind the same seam; its base class is not used, since importing it takes 0.35 s.
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
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

from rlm.errors import KernelError
from rlm.process.pipes import BoundedLog
from rlm.process.process_tree import kill_until_gone, marked
from rlm.sandbox import sealed_copy

# As in this process: paths and commands are handed over as text. (PYTHONUTF8 is the user's, and not for the zygote.)
_UTF8 = ("-X", "utf8") if sys.flags.utf8_mode else ()
# A fork of a process that uses Apple's frameworks crashes; elsewhere a kernel is forked.
_PLAIN = (sys.executable, *_UTF8, "-P", "-m", "rlm.inside") if sys.platform == "darwin" else ()
_UNRESPONSIVE = 30.0  # seconds of silence after which a zygote is killed; to kill what a kernel started takes two
_CLOSING = 5.0  # seconds until a zygote that was asked to go is killed


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What to start. `program` instead of a fork; the path of its `launch` file is appended. `sandbox` is a handle."""

    launch: Path
    env: Mapping[str, str]
    cwd: Path
    program: tuple[str, ...] = ()
    sandbox: str = ""
    modules: tuple[str, ...] = ()
    """To be imported before."""


@dataclass(slots=True)
class KernelProcess:
    """A kernel's process. `ended` gives its status as of waitpid(2), or None if even that is lost."""

    id: int
    zygote: _ZygoteConnection
    ended: asyncio.Future[int | None]
    gone: asyncio.Future[None]
    swept: asyncio.Future[None] | None = None
    log: str = ""
    """The beginning and the end of what it wrote to its log; there when it has ended."""

    def interrupt(self) -> None:
        self.zygote.send(do="interrupt", id=self.id)

    async def sweep(self, since: float) -> None:
        """Kill what it has started since then (CLOCK_BOOTTIME, seconds).

        Returns when that is done, and every interrupt sent before has arrived: neither hits the next cell.
        """
        if not self.gone.done():
            self.swept = asyncio.get_running_loop().create_future()
            self.zygote.send(do="sweep", id=self.id, since=since)
            await self._wait_for(self.swept)

    def resolve(self, *, status: int | None = None, gone: bool = False) -> None:
        """Note its end, and that nothing of it is left."""
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
        """Kill it and all that it started, and wait until nothing is left."""
        if not self.gone.done():
            self.zygote.send(do="kill", id=self.id)
            await self._wait_for(self.gone)

    async def _wait_for(self, done: asyncio.Future[None]) -> None:
        """Wait for the zygote. Code outside of a sandbox can stop it (SIGSTOP): then it is killed, and all is known."""
        await asyncio.wait({done}, timeout=_UNRESPONSIVE)
        if not done.done():
            self.zygote.process.kill()
            await asyncio.wait({done})


@dataclass(slots=True)
class _ZygoteConnection:
    """A living zygote and the connection to it."""

    process: subprocess.Popen[bytes]
    writer: asyncio.StreamWriter
    stderr: BoundedLog
    listening: asyncio.Task[None] | None = None
    kernels: dict[int, KernelProcess] = field(default_factory=dict)
    over: bool = False
    """We have hung up, or the zygote is gone."""

    def send(self, **what: Any) -> None:
        """A zygote that is gone gets nothing: its kernels have ended."""
        if not self.writer.is_closing():
            self.writer.write(json.dumps(what).encode() + b"\n")

    def drain_stderr(self) -> None:
        """What the zygote writes to stderr."""
        if not self.stderr.drain():
            asyncio.get_running_loop().remove_reader(self.stderr)


class KernelServer:
    """Owns the zygote process. It is started by the first launch, and again if somebody killed it.

    Only one that is `sealed` can start kernels in a sandbox: it runs from a copy of Python that no kernel can change.
    """

    def __init__(self, *, sealed: bool = False, mark: str | None = None) -> None:
        """What comes from its kernels has this mark, see `Supervisor.new_mark`."""
        self._mark = mark or token_hex(8)
        self._sealed = sealed
        self._shared: list[int] = []
        self._zygote: asyncio.Task[_ZygoteConnection] | None = None
        self._count = 0
        self.last_error = ""
        """What the zygote complained about before it ended by itself."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def launch(self, request: LaunchRequest) -> KernelProcess:
        """
        Raises:
            KernelError: the zygote cannot be started.
        """
        if self._zygote is None:
            self._zygote = asyncio.create_task(self._connect(request.env))
        zygote = await asyncio.shield(self._zygote)
        loop = asyncio.get_running_loop()
        self._count += 1
        kernel = KernelProcess(self._count, zygote, loop.create_future(), loop.create_future())
        if zygote.over:
            kernel.resolve(gone=True)
            return kernel
        zygote.kernels[kernel.id] = kernel
        program = request.program or _PLAIN
        zygote.send(
            do="start",
            id=kernel.id,
            launch=str(request.launch),
            env=dict(request.env),
            cwd=str(request.cwd),
            program=[*program, str(request.launch)] if program else None,
            sandbox=request.sandbox,
            modules=request.modules,
        )
        return kernel

    def share(self, file: int) -> None:
        """Kernels without a sandbox get this descriptor, to read, under the same number. Before the first launch."""
        self._shared.append(file)

    async def close(self) -> None:
        """Everything that it started is killed."""
        opened, self._zygote = self._zygote, None
        if opened is not None:
            with contextlib.suppress(KernelError):
                await _hang_up(await opened)

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
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        zygote = _ZygoteConnection(process, writer, stderr)
        zygote.listening = asyncio.create_task(self._listen(zygote, reader))
        asyncio.get_running_loop().add_reader(stderr, zygote.drain_stderr)
        return zygote

    async def _listen(self, zygote: _ZygoteConnection, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while (report := await reader.readline()).endswith(b"\n"):
                _note(zygote, json.loads(report))
        if zygote.over:
            return
        zygote.over, self._zygote = True, None
        zygote.drain_stderr()
        self.last_error = zygote.stderr.text().strip()
        await _hang_up(zygote)
        # its kernels died with it; what they had started is ours to find
        await asyncio.to_thread(kill_until_gone, partial(marked, self._mark))


async def _hang_up(zygote: _ZygoteConnection) -> None:
    zygote.over = True
    zygote.writer.close()
    await asyncio.to_thread(_wait, zygote.process)
    asyncio.get_running_loop().remove_reader(zygote.stderr)
    zygote.stderr.close()
    for kernel in zygote.kernels.values():
        kernel.resolve(gone=True)


def _start(
    end: socket.socket, stderr: BoundedLog, env: Mapping[str, str], arguments: Sequence[str], sealed: bool
) -> subprocess.Popen[bytes]:
    """-P and no PYTHONPATH: neither the working directory nor the user's modules shadow ours. Kernels get both.

    Of `arguments`, those after the first are descriptors that kernels get.
    """
    env = {name: value for name, value in env.items() if not name.startswith(("PYTHON", "RLM_"))}
    env["PYTHONHASHSEED"] = "0"  # of kernels, not of their programs: a set is in the same order when cells run again
    with ExitStack() as stack:
        copies = [stack.enter_context(sealed_copy(Path(sys.executable).resolve()))] if sealed else []
        return subprocess.Popen(
            [sys.executable, *_UTF8, "-P", "-m", "rlm.inside.zygote", str(end.fileno()), *arguments],
            executable=f"/proc/self/fd/{copies[0]}" if sealed else None,
            pass_fds=[end.fileno(), *copies, *map(int, arguments[1:])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr.end,
            start_new_session=True,  # Ctrl-C is for the host
            cwd="/",
            env=_finding_libraries(env) if sealed else env,
        )


def _finding_libraries(env: dict[str, str]) -> dict[str, str]:
    """A copy has no place of its own, from which the loader could find libpython ($ORIGIN in ld.so(8))."""
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return env
    folders = [str(Path(sys.base_prefix) / "lib"), *filter(None, [env.get("LD_LIBRARY_PATH")])]
    return env | {"LD_LIBRARY_PATH": os.pathsep.join(folders)}


def _note(zygote: _ZygoteConnection, report: dict[str, Any]) -> None:
    kernel = zygote.kernels.get(report["id"])
    if kernel is None:
        return  # gone already when it was asked to go
    if "status" in report:
        kernel.log = report["log"]
        kernel.resolve(status=report["status"])
    if "swept" in report:
        kernel.resolve_sweep()
    if "gone" in report:
        del zygote.kernels[kernel.id]
        kernel.resolve(gone=True)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_CLOSING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
