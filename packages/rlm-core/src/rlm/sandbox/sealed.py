"""Start programs from a sealed copy in memory, so that processes in a sandbox give no access to files of the host.

A process that enters a sandbox keeps its executable. `/proc/PID/exe` opens it through a mount outside the sandbox,
where it is not read-only. So a cell could change the mode of the user's Python, or wait until it can write to it
(CVE-2019-5736). A sealed copy is not a file of the host, and no process can change it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlm.errors import ConfigError

# linux/memfd.h, linux/fcntl.h: not yet in Python's modules
_MFD_EXEC = 0x10  # from Linux 6.3; in older versions, a memory file can always be executed
_F_SEAL_EXEC = 0x20  # from Linux 6.3: the mode of the file cannot be changed


@contextmanager
def sealed_copy(program: Path) -> Iterator[int]:
    """Yield the descriptor of a copy, to be started as `/proc/self/fd/N`.

    Raises:
        ConfigError: the system does not allow programs in memory.
    """
    copy = _memory_file(program.name)
    try:
        with (
            program.open("rb") as source,  # by path: our Python, before a cell runs
            os.fdopen(os.dup(copy), "wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        with suppress(OSError):
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _F_SEAL_EXEC)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
        yield copy
    finally:
        os.close(copy)


@contextmanager
def program_descriptor(program: Path) -> Iterator[int]:
    """Yield a descriptor as `sealed_copy` does, but of the program's own file if the system recognises it by its file.

    AppArmor allows programs to create user namespaces by their path (Ubuntu), older systems by the set-user-id bit.
    Another user's file cannot be changed from a sandbox in any case.

    Raises:
        ConfigError: the system does not allow programs in memory.
    """
    status = program.stat()
    restricted = False
    with suppress(OSError):
        switch = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
        restricted = switch.read_text() != "0\n"  # by path: a file of the system
    recognised_by_file = status.st_mode & stat.S_ISUID or restricted
    if status.st_uid == os.geteuid() or not recognised_by_file:
        with sealed_copy(program) as copy:
            yield copy
        return
    descriptor = os.open(program, os.O_PATH | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _memory_file(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        try:
            return os.memfd_create(name, flags | _MFD_EXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return os.memfd_create(name, flags)
    except OSError as error:
        raise ConfigError(
            f"The sandbox starts programs from memory, which this system does not allow ({error.strerror}). "
            "Set vm.memfd_noexec to 0 or 1: sudo sysctl -w vm.memfd_noexec=1"
        ) from None
