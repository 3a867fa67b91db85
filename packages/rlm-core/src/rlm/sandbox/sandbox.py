"""One agent's sandbox, and the bwrap process that keeps it open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from rlm.errors import KernelError
from rlm.process.files import remove
from rlm.sandbox.policy import SandboxPolicy
from rlm.sandbox.sources import Source, Sources

_ENTER = Path(__file__).parent.parent / "inside" / "enter_sandbox.py"
_START_TIMEOUT = 30.0  # timeout in seconds for a sandbox to start
_KILL_TIMEOUT = 5.0  # seconds to wait for the end of killed processes
_ALLOW = (
    "User namespaces must be allowed: sudo sysctl -w user.max_user_namespaces=10000, and, if the system has them, "
    "kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0"
)
_TOO_OLD = (
    "This bubblewrap is too old for the sandbox, which needs its option --bind-fd: install 0.10 or newer, or your "
    "distribution's update for CVE-2024-42472"
)

_OCTAL = re.compile(rb"\\([0-7]{3})")
_T = TypeVar("_T")


class Sandbox:
    """A sandbox that is created at its first use, and again if it ended. The exit kills all processes in it.

    bwrap is told to end with its parent. For the system that is the thread that started it: here the thread of the
    event loop. If the child of a starting bwrap is killed, bwrap would wait for it forever. So each bwrap is also in a
    process group that the supervisor watches.
    """

    def __init__(
        self,
        policy: SandboxPolicy,
        run_dir: Path,
        shown: Iterable[Path] = (),
        files: Mapping[str, Path] = MappingProxyType({}),
        writable: Iterable[Path] = (),
    ) -> None:
        """
        Args:
            policy: the policy of all sandboxes of the run.
            run_dir: the agent's own folder.
            shown: additional paths that this agent may read, anywhere.
            writable: additional folders of the host that this agent may write to.
            files: files that are mounted read-only in `run_dir`, by their names there. Their present paths may change.
        """
        self._policy = policy
        self._run_dir = run_dir
        self._shown = [path for path in shown if not path.is_relative_to(policy.cwd)]  # that is shown anyway
        self._files = dict(files)
        self._writable = list(writable)
        self._opened = ExitStack()
        self._making = asyncio.Lock()
        self._process: _BwrapProcess | None = None
        self._sources: tuple[Source, list[Source], list[Source], list[Source]]

    async def __aenter__(self) -> Self:
        """Open the paths that the sandbox shows.

        Raises:
            ConfigError: one of them does not exist, or is a link.
        """
        with ExitStack() as opened:
            sources = opened.enter_context(Sources())
            run_dir, *shown = [sources.open(path.resolve(), path) for path in (self._run_dir, *self._shown)]
            within = [sources.open(path.resolve(), self._run_dir / name) for name, path in self._files.items()]
            writable = [sources.open(path) for path in self._writable]
            self._sources = (run_dir, shown, within, writable)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            await _shielded(self._end())

    async def handle(self) -> str:
        """Return the handle with which `rlm.inside.enter_sandbox` enters it. Create the sandbox if necessary.

        Raises:
            KernelError: it cannot be created here.
        """
        policy = self._policy
        async with self._making:
            if self._process is None or self._process.ended:
                await self._end()
                self._process = await _BwrapProcess.begin(policy, *self._bwrap_arguments())
            parts = (
                self._process.pid,
                self._process.namespace_inode,
                policy.memory,
                policy.file_size,
                policy.system_calls.hex(),
            )
        return "-".join(map(str, parts))

    async def command(self, cwd: Path, *program: str) -> tuple[str, ...]:
        """Return the command that runs `program` in the sandbox, in the folder `cwd`.

        Raises:
            KernelError: it cannot be created here.
        """
        return (sys.executable, "-I", "-S", str(_ENTER), await self.handle(), str(cwd), *program)

    def _bwrap_arguments(self) -> tuple[list[str], list[int]]:
        """Return the arguments of bwrap, without files that a cell has removed: they cannot be mounted again."""
        run_dir, shown, within, writable = self._sources
        gone = [source for source in within if os.fstat(source.descriptor).st_nlink == 0]
        for source in gone:
            with contextlib.suppress(OSError):
                remove(source.target)
        left = [source for source in within if source not in gone]
        return self._policy.arguments(run_dir, shown, left, writable)

    async def _end(self) -> None:
        if self._process is not None:
            await self._process.end()
            self._process = None


class _BwrapProcess:
    """A sandbox from start to end. While the descriptor of its namespace is open, no other namespace gets its inode."""

    def __init__(self, process: subprocess.Popen[bytes], policy: SandboxPolicy, pid: int) -> None:
        self._process = process
        self._policy = policy
        self.pid = pid
        """The id of the first process in the sandbox, in the host's pid namespace."""
        with ExitStack() as opened:
            self._init = os.pidfd_open(pid)
            opened.callback(os.close, self._init)
            handle = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, handle)
            self.namespace_inode = os.fstat(handle).st_ino
            self._opened = opened.pop_all()

    @classmethod
    async def begin(cls, policy: SandboxPolicy, arguments: list[str], descriptors: list[int]) -> _BwrapProcess:
        """Start a sandbox. A cancellation leaves no process: there is no await between the start and the `try`."""
        with _pipe() as (info, write_info), _pipe_with(policy.system_calls) as filtering:
            arguments = ["bwrap", *arguments, "--seccomp", str(filtering), "--sync-fd", str(policy.bwrap)]
            process = _start_bwrap(
                policy, [*arguments, "--info-fd", str(write_info)], [*descriptors, filtering, write_info]
            )
            try:
                pid = await _wait_until_ready(process, info)
                _check_mounts(pid, policy)
                return cls(process, policy, pid)
            except BaseException as error:
                await _shielded(_kill_bwrap(process, policy))
                if isinstance(error, OSError):
                    raise KernelError(f"The sandbox cannot be entered: {error}. It needs Linux 5.8 or newer.") from None
                raise

    @property
    def ended(self) -> bool:
        """True if it has ended. Its first process gives up its namespaces, then all others are killed, then it ends."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/ns/mnt").stat()
            return self._wait(0)
        return True

    async def end(self) -> None:
        """Kill the first process, and so all others in its pid namespace. It ends after them. See pid_namespaces(7)."""
        with self._opened:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            await asyncio.to_thread(self._wait, _KILL_TIMEOUT)
            await _kill_bwrap(self._process, self._policy)  # bwrap itself ends with the sandbox

    def _wait(self, seconds: float) -> bool:
        """Return whether the first process, and so all others, have ended. (Not select(2): many files may be open.)"""
        poll = select.poll()
        poll.register(self._init, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


def _start_bwrap(policy: SandboxPolicy, arguments: list[str], descriptors: list[int]) -> subprocess.Popen[bytes]:
    """Start bwrap with `cat`, which keeps the sandbox open. Its echo shows that everything is mounted."""
    try:
        process = subprocess.Popen(
            [*arguments, "--chdir", "/", "--", "cat"], executable=f"/proc/self/fd/{policy.bwrap}",
            stdin=PIPE, stdout=PIPE, stderr=PIPE, bufsize=0, pass_fds=[*descriptors, policy.bwrap],
            cwd="/", env={"PATH": os.defpath, **policy.groups.environment()}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise KernelError(f"The sandbox could not be started: {error}.") from None
    policy.groups.adopt(process.pid)
    return process


async def _kill_bwrap(process: subprocess.Popen[bytes], policy: SandboxPolicy) -> None:
    """Kill a bwrap and all processes that it has started, and wait for its end."""
    with process:  # closes the pipes
        policy.groups.kill(process.pid)
        await asyncio.to_thread(process.wait)
    policy.groups.settle(process.pid)


async def _wait_until_ready(process: subprocess.Popen[bytes], info: int) -> int:
    """Wait until the sandbox is ready. Return the id of its first process."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(b"\n")
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            await _wait_readable(process.stdout.fileno())
    except TimeoutError:
        raise KernelError(f"The sandbox could not be created within {_START_TIMEOUT:g} s.") from None
    if process.stdout.read(1) != b"\n":
        lines = os.read(process.stderr.fileno(), 4096).decode(errors="replace").strip().splitlines()
        said = (lines or ["bwrap ended"])[0][:300]
        raise KernelError(
            f"{_TOO_OLD}." if "nknown option" in said else f"The sandbox does not work here: {said}. {_ALLOW}."
        )
    return int(json.loads(os.read(info, 4096))["child-pid"])


def _check_mounts(pid: int, policy: SandboxPolicy) -> None:
    """Check that everything of the project is mounted where the policy requires it.

    A run that began before a `.git` existed here does not protect it: a cell of that run may put a link there.
    """
    lines = Path(f"/proc/{pid}/mountinfo").read_bytes().splitlines()  # proc_pid_mountinfo(5), by path: of the system
    mounted = {_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4]) for line in lines}
    for source, _ in policy.layers:
        if os.fsencode(source.target) not in mounted:
            raise KernelError(f"The sandbox cannot be created: {source.target} was replaced during the run.")


async def _wait_readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def _shielded(work: Awaitable[_T]) -> _T:
    """Finish the work even if this task is cancelled meanwhile; raise the cancellation afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


@contextlib.contextmanager
def _pipe_with(data: bytes) -> Iterator[int]:
    """Yield the read end of a pipe that contains `data`, which must fit into a pipe."""
    read, write = os.pipe()
    try:
        os.write(write, data)
        os.close(write)
        yield read
    finally:
        os.close(read)
