"""One agent's box: the processes that hold it open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from rlm.errors import ConfigError, KernelError
from rlm.sandbox.walls import Walls

_ENTER = Path(__file__).parent.parent / "inside" / "box.py"
_INSTALLERS = {
    "apt-get": "apt-get install bubblewrap",
    "dnf": "dnf install bubblewrap",
    "zypper": "zypper install bubblewrap",
    "pacman": "pacman -S bubblewrap",
    "apk": "apk add bubblewrap",
}
_PATIENCE = 5.0  # seconds for killed processes to vanish
_ALLOW = (
    "User namespaces must be allowed: sudo sysctl -w user.max_user_namespaces=10000, and where the system has them "
    "kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0"
)


def program() -> str:
    """The path of bwrap.

    Raises:
        ConfigError: it is not installed; says how to.
    """
    found = shutil.which("bwrap")
    if found is None:
        known = (command for name, command in _INSTALLERS.items() if shutil.which(name))
        raise ConfigError(
            f"The sandbox needs bubblewrap, which is not here. Install it: {next(known, _INSTALLERS['apt-get'])}"
        )
    return found


class Box:
    """Made when first entered, and anew if it broke. Leaving it kills all that is in it, whatever that did.

    bwrap is told to end with its parent, which to the system is the thread that started it: here the event loop's, as
    asyncio forks in the caller's thread. If even that fails, its stdin ends with us, and so does what keeps the box.
    """

    def __init__(self, walls: Walls, run_dir: Path, shown: tuple[Path, ...] = ()) -> None:
        self._arguments = walls.arguments(run_dir, shown)
        self._limits = (walls.memory, walls.file_size)
        self._making = asyncio.Lock()
        self._life: _Life | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._making:
            await self._end()

    async def door(self) -> str:
        """What `rlm.inside.box` needs to enter it.

        Raises:
            KernelError: it cannot be made here.
        """
        async with self._making:
            if self._life is None or self._life.over:
                await self._end()
                self._life = await _Life.begin([program(), *self._arguments])
            pid, space = self._life.pid, self._life.space
        return "-".join(map(str, (pid, space, *self._limits)))

    async def command(self, cwd: Path, *words: str) -> tuple[str, ...]:
        """The command that runs `words` in the box, in the folder `cwd`.

        Raises:
            KernelError: it cannot be made here.
        """
        return (sys.executable, "-I", "-S", str(_ENTER), await self.door(), str(cwd), *words)

    async def _end(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            await life.end()


class _Life:
    """A box from start to end. While `_handle` is open, no other namespace gets its number."""

    def __init__(self, process: Process, pid: int) -> None:
        self._process = process
        self.pid = pid
        """Of the first process in the box, as the host sees it."""
        self._init = os.pidfd_open(pid)
        self._handle = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.space = os.fstat(self._handle).st_ino

    @classmethod
    async def begin(cls, bwrap: list[str]) -> _Life:
        """`cat` keeps the box: what it echoes says that all is mounted."""
        with _pipe() as (told, tell):
            try:
                process = await asyncio.create_subprocess_exec(
                    *bwrap, "--chdir", "/", "--info-fd", str(tell), "--", "cat",
                    stdin=PIPE, stdout=PIPE, stderr=PIPE, pass_fds=(tell,),
                    cwd="/", env={"PATH": os.defpath}, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise KernelError(f"The sandbox could not be started: {error}.") from None
            try:
                return cls(process, await _await_ready(process, told))
            except BaseException as error:
                await process.communicate()  # its stdin ends, so the box does
                if isinstance(error, OSError):
                    raise KernelError(f"The sandbox cannot be entered: {error}. It takes Linux 5.8 or newer.") from None
                raise

    @property
    def over(self) -> bool:
        """A first process that ends gives up its namespaces, then the others are killed, and only then it is gone."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/ns/mnt").stat()
            return self._wait(0)
        return True

    async def end(self) -> None:
        """Killing the first process of a pid namespace kills all; it is gone when all are. See pid_namespaces(7)."""
        try:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            await asyncio.to_thread(self._wait, _PATIENCE)
            await self._process.communicate()  # bwrap ends with what it has started
        finally:
            os.close(self._init)
            os.close(self._handle)

    def _wait(self, seconds: float) -> bool:
        """Whether its first process, and so all that was in it, has ended. (Not select(2): we may have many files.)"""
        poll = select.poll()
        poll.register(self._init, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


async def _await_ready(process: Process, told: int) -> int:
    """The id of the box's first process, when the box is there."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(b"\n")
        await process.stdin.drain()
    if await process.stdout.read(1) != b"\n":
        complaint = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
        raise KernelError(f"The sandbox does not work here: {(complaint or ['bwrap ended'])[0][:300]}. {_ALLOW}.")
    return int(json.loads(os.read(told, 4096))["child-pid"])


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)
