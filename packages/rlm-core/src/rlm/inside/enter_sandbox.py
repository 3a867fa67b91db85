"""Enter a sandbox that bwrap has created, and keep nothing that could lead out of it. For Linux 5.8 and later.

bwrap starts only one program in its sandbox. But the sandbox must contain a fork of the warm zygote, and beside it each
command of the bash tool. So these processes join the sandbox's namespaces, as nsenter(1) does, and then give up what
bwrap gives up: all capabilities, and every way to gain new ones.

Other processes in the sandbox can see a new process before it has given these up. Until then it cannot be traced, and
nothing of it can be opened through /proc (PR_SET_DUMPABLE, see ptrace(2)): its executable, files and memory are the
host's. A fork of the zygote keeps its executable; for that reason this is a sealed copy, see `rlm.sandbox.sealed`. A
program that this module starts has an executable of the sandbox.

`python -I -S enter_sandbox.py HANDLE CWD PROGRAM ARGUMENT...` runs a program in a sandbox. A handle is
`PID-NAMESPACE-MEMORY-FILE-FILTER`: the id of any process in the sandbox, the inode of its pid namespace, the maximum
bytes of a process's memory and of one file, and the filter of system calls (`rlm.sandbox.seccomp`) in hexadecimal.

It is run by its path, in a separate Python process, and can import only the standard library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import select
import signal
import stat
import sys
from contextlib import suppress
from typing import NoReturn

# No pathlib: its import takes 10 ms, in each command of the bash tool.

# linux/sched.h, linux/prctl.h, linux/capability.h
_NEW_USER = 0x1000_0000
_NEW_SPACES = {
    "mnt": 0x2_0000,
    "cgroup": 0x200_0000,
    "uts": 0x400_0000,
    "ipc": 0x800_0000,
    "pid": 0x2000_0000,
    "net": 0x4000_0000,
}
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x2008_0522
_MOST_CAPABILITIES = 64  # the bits in the masks of that version
# linux/mount.h
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_RELATIME = 0x1, 0x20, 0x1000, 0x20_0000
_ST_RELATIME = 0x1000
_KEPT = 0x2 | 0x4 | 0x8 | 0x400 | 0x800  # nosuid, nodev, noexec, noatime, nodiratime: the same for statvfs(3)

_C = ctypes.CDLL(None, use_errno=True)
"""The C library, loaded once: if each of fifty calls loads it, that takes 5 ms in a new fork."""

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MOST_FILES = 1 << 20


def enter(handle: str, *, seen: bool = False) -> None:
    """Continue in the sandbox, as a new process. The calling process stays outside, and ends as the new one ends.

    Only descriptors 0, 1 and 2 stay open; one of them that is a character device becomes the sandbox's /dev/null.
    `seen`: the new process starts no other program, and other processes in the sandbox can see it.

    Raises:
        OSError: the sandbox has ended, or the system is too old.
    """
    pid, space, memory, file_size = (int(part) for part in handle.split("-")[:4])
    outside = os.getppid()
    _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    _join(pid, space)
    _protect_devices()
    die_with(outside)  # joining has reset it
    parent_ended, parent_lives = os.pipe()
    child = os.fork()
    if child:
        os.close(parent_ended)
        _stand_for(child)
    os.close(parent_lives)
    _give_up_power()
    _be_killed_with(parent_ended)
    _keep_nothing_open()
    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, file_size), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    _filter(bytes.fromhex(handle.split("-")[4]))
    if seen:
        _call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)  # else this process could not open its own /proc/self


def die_with(parent: int) -> None:
    """Be killed when the thread that forked this process ends; at once if `parent` has ended already."""
    with suppress(AttributeError):  # not Linux
        _C.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _join(pid: int, space: int) -> None:
    """Join all namespaces of a process that differ from ours.

    One call joins all of them, because a nested user namespace has no rights over the others.
    """
    handle = os.pidfd_open(pid)
    try:
        theirs, ours = _spaces(str(pid)), _spaces("self")
        if theirs["pid"] != space:
            raise ProcessLookupError(3, "the sandbox has ended")
        signal.pidfd_send_signal(handle, 0)  # it is alive, so its pid was not reused when we read the namespaces
        kinds = [kind for name, kind in _NEW_SPACES.items() if theirs[name] != ours[name]]
        _call("setns", handle, sum(kinds, _NEW_USER))
    finally:
        os.close(handle)


def _spaces(process: str) -> dict[str, int]:
    return {name: os.stat(f"/proc/{process}/ns/{name}").st_ino for name in _NEW_SPACES}  # noqa: PTH116 - as above


def _stand_for(child: int) -> NoReturn:
    """Pass the host's interrupts on to the child, and end as the child ends."""
    signal.signal(signal.SIGINT, lambda *_: os.kill(child, signal.SIGINT))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is sent to the group, so the child receives it
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _give_up_power() -> None:
    """Give up all capabilities, which entering the sandbox has given to this process. See capabilities(7)."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(_MOST_CAPABILITIES):
        try:
            _call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
        except OSError as error:  # capabilities are numbered without gaps: the number after the last one gives EINVAL
            if error.errno != errno.EINVAL or capability == 0:
                raise
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())


def _be_killed_with(parent_ended: int) -> None:
    """Be killed when the parent ends, as with `die_with`. In the sandbox the parent has no pid, so check a pipe."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if select.select([parent_ended], [], [], 0)[0]:
        os._exit(1)
    os.close(parent_ended)


def _protect_devices() -> None:
    """Mount the devices read-only. They are the host's, and their owner, root, could change their mode.

    A program can still write to a device that is mounted read-only. For users other than root, bwrap creates a second
    user namespace, from which these mounts could not be changed.
    """
    for name in _DEVICES:
        path = f"/dev/{name}"
        flags = os.statvfs(path).f_flag
        if not flags & _MS_RDONLY and os.stat(path).st_uid == os.geteuid():  # noqa: PTH116 - as above
            kept = flags & _KEPT | (_MS_RELATIME if flags & _ST_RELATIME else 0)
            _call("mount", None, path.encode(), None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept, None)


def _keep_nothing_open() -> None:
    os.closerange(3, MOST_FILES)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(null, descriptor)
    os.close(null)


def _filter(program: bytes) -> None:
    """Install the filter of system calls. It must come last, because it refuses some of the calls above.

    See seccomp(2), and struct sock_fprog in linux/filter.h.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    length = ctypes.c_uint64(len(program) // 8)
    address = ctypes.c_uint64(ctypes.addressof(instructions))
    filter_program = ctypes.create_string_buffer(bytes(length) + bytes(address))
    _call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_program, 0, 0)


def _call(name: str, *arguments: object) -> None:
    if getattr(_C, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")


def main(handle: str, cwd: str, *program: str) -> NoReturn:
    try:
        enter(handle)
        os.chdir(cwd)
        os.execvp(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        print(f"{program[0]} could not be started in the sandbox: {error.strerror}", file=sys.stderr)
        os._exit(126)


if __name__ == "__main__":
    main(*sys.argv[1:])
