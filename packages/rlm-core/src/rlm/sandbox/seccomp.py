"""The filter of system calls for all processes in a sandbox: a program in classic BPF, see seccomp(2) and bpf(4).

Namespaces hide the host. This filter blocks parts of the system's kernel that everyday work does not need: parts where
a flaw could allow an escape, or that no namespace confines. Most of the filter is a list of refused calls. System calls
that are newer than the list do not exist in a sandbox, so an old list leaves no gap.

ptrace and process_vm_readv are allowed on purpose. A pid namespace confines them, all processes in it have the same
filter and no capability, and everyday work includes debuggers and profilers.

For x86-64 and arm64. The numbers are from the kernel's own tables, arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h; from 424 on, both are the same.
"""

from __future__ import annotations

import errno
import socket
import stat
import struct
from collections.abc import Iterable

from rlm.errors import ConfigError

_ARCHITECTURES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
"""By `os.uname().machine`: the number in linux/audit.h, and the column in the tables here."""

_LAST = 466
"""removexattrat, of Linux 6.13: the newest system call that was reviewed. The calls of x32 have higher numbers too."""

# Names to numbers: x86-64 and arm64; -1: this architecture does not have it.
_REFUSED = {
    # Mounts: they could show hidden files, and make read-only files writable.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    # Namespaces of other processes. A new user namespace would give all capabilities in it: see `_namespaces`.
    "setns": (308, 268),
    # Keys of the user: no namespace confines keyrings that existed before.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Large interfaces with a history of flaws. perf and fanotify also observe other processes.
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    # Open files by number, which bypasses covered paths.
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # The machine: its log, clock, names, modules, swap, quotas, accounting, shutdown. Root in a container may do some.
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, -1),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "uselib": (134, -1),
    "ustat": (136, -1),
    "sysfs": (139, -1),
    "_sysctl": (156, -1),
}
_MISSING = {
    # They take their arguments by pointer, which no filter can read, and every program that uses them has a fallback.
    "clone3": (435, 435),
    "openat2": (437, 437),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # New calls that are not needed: mounts and security modules.
    "statmount": (457, 457),
    "listmount": (458, 458),
    "lsm_set_self_attr": (460, 460),
}

# CLONE_NEW*, linux/sched.h. CLONE_NEWTIME is a signal number to clone(2), a flag to unshare(2).
_NEW_NAMESPACES = 0x7E02_0000
_NEW_TIME = 0x80

# A set-user-id program of root in the project would give root rights to every user who starts it after the run.
_SET_ID = stat.S_ISUID | stat.S_ISGID
_MODES = {  # the number of the argument that holds a mode
    "chmod": (90, -1, 1),
    "fchmod": (91, 52, 1),
    "fchmodat": (268, 53, 2),
    "fchmodat2": (452, 452, 2),
    "creat": (85, -1, 1),
}
_OPENS = {"open": (2, -1, 1), "openat": (257, 56, 2)}  # the number of the flags argument; the mode comes next
_MAKES = 0o100 | 0o2000_0000  # O_CREAT, O_TMPFILE: without them there is no mode
_NODES = {"mknod": (133, -1, 1), "mknodat": (259, 33, 2)}

# Other families (AF_VSOCK, AF_ALG, AF_PACKET, AF_TIPC, AF_BLUETOOTH, ...) reach the host or the machine around the
# network namespace, or are rarely reviewed. AF_NETLINK is allowed, because libzmq aborts without it.
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16)
_AF_NETLINK, _NETLINK_ROUTE = 16, 0
# Unspecified, ICMP, TCP, UDP, ICMPv6. Others (SCTP, DCCP, MPTCP, L2TP) make the kernel load modules.
_PROTOCOLS = (0, 1, 6, 17, 58)
_SOCKETS = {"socket": (41, 198), "socketpair": (53, 199)}

# TIOCSTI types into a terminal, TIOCLINUX pastes into a console, TIOCSETD loads line disciplines. asm-generic/ioctls.h
_IOCTL = (16, 29)
_TERMINAL = (0x5412, 0x541C, 0x5423)

# Shared memory is a file without a name, which no limit of a process includes. linux/mman.h
_MMAP, _SHMGET = (9, 222), (29, 194)
_SHARED, _ANONYMOUS, _MAP_TYPE = 0x01, 0x20, 0x0F

_PERSONALITY = (135, 92)
# PER_LINUX, PER_LINUX32, UNAME26, both, ADDR_NO_RANDOMIZE (debuggers), and the query of the current value
_PERSONALITIES = (0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0xFFFF_FFFF)

# linux/bpf_common.h, linux/seccomp.h
_LOAD, _AND = 0x20, 0x54  # BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL, _IF_GREATER, _IF_ANY_BIT = 0x15, 0x25, 0x45  # BPF_JMP | BPF_JEQ, BPF_JGT, BPF_JSET | BPF_K
_RETURN = 0x06
_ALLOW, _ERROR = 0x7FFF_0000, 0x0005_0000

_Instruction = tuple[int, int, int, int]
"""The code, the instructions to skip if a test is true, or false, and a number. struct sock_filter."""


def compile_filter(machine: str, memory: int) -> bytes:
    """Return the filter for a machine, as `struct sock_filter`s. A segment of shared memory has at most `memory` bytes.

    Raises:
        ConfigError: the machine's architecture is unknown to the filter.
    """
    if machine not in _ARCHITECTURES:
        raise ConfigError(f"The sandbox supports the system calls of x86-64 and arm64, not of {machine}.")
    architecture, column = _ARCHITECTURES[machine]
    instructions = [
        (_LOAD, 0, 0, 4),  # seccomp_data.arch: on another architecture the numbers have other meanings
        (_IF_EQUAL, 1, 0, architecture),
        _refuse(errno.ENOSYS),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
        (_IF_GREATER, 0, 1, _LAST),
        _refuse(errno.ENOSYS),
        *_refusals(_REFUSED, column, errno.EPERM),
        *_refusals(_MISSING, column, errno.ENOSYS),
        *_namespaces(column),
        *_modes(column),
        *_sockets(column),
        *_shared_memory(column, memory),
        *_when(_IOCTL[column], [*_argument(1), *(one for value in _TERMINAL for one in _refuse_if(value))]),
        *_when(_PERSONALITY[column], [*_argument(0), *_only(_PERSONALITIES, errno.EPERM)]),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _refusals(calls: dict[str, tuple[int, int]], column: int, error: int) -> list[_Instruction]:
    numbers = [numbers[column] for numbers in calls.values() if numbers[column] >= 0]
    return [one for number in numbers for one in _refuse_if(number, error)]


def _namespaces(column: int) -> list[_Instruction]:
    clone, unshare = ((56, 220)[column], (272, 97)[column])
    return [
        *_when(clone, [*_argument(0), *_refuse_bits(_NEW_NAMESPACES)]),
        *_when(unshare, [*_argument(0), *_refuse_bits(_NEW_NAMESPACES | _NEW_TIME)]),
    ]


def _modes(column: int) -> list[_Instruction]:
    program: list[_Instruction] = []
    for *numbers, argument in _MODES.values():
        program += _when(numbers[column], [*_argument(argument), *_refuse_bits(_SET_ID)])
    for *numbers, flags in _OPENS.values():
        mode = [*_argument(flags + 1), *_refuse_bits(_SET_ID)]
        program += _when(numbers[column], [*_argument(flags), (_IF_ANY_BIT, 0, len(mode), _MAKES), *mode])
    for *numbers, argument in _NODES.values():
        kind = [(_AND, 0, 0, stat.S_IFMT(0o177777)), *_refuse_if(stat.S_IFCHR), *_refuse_if(stat.S_IFBLK)]
        program += _when(numbers[column], [*_argument(argument), *_refuse_bits(_SET_ID), *kind])
    return program


def _sockets(column: int) -> list[_Instruction]:
    program: list[_Instruction] = []
    for numbers in _SOCKETS.values():
        netlink = [*_argument(2), *_only((_NETLINK_ROUTE,), errno.EPROTONOSUPPORT), (_RETURN, 0, 0, _ALLOW)]
        internet = [*_argument(2), *_only(_PROTOCOLS, errno.EPROTONOSUPPORT)]
        block = [
            *(*_argument(0), *_only(_FAMILIES, errno.EAFNOSUPPORT)),
            *((_IF_EQUAL, 0, len(netlink), _AF_NETLINK), *netlink),
            *((_IF_EQUAL, len(internet), 0, socket.AF_UNIX), *internet),
        ]
        program += _when(numbers[column], block)
    return program


def _shared_memory(column: int, most: int) -> list[_Instruction]:
    """Limit each segment; the limit of files applies to a memory file. The filter cannot know their total."""
    too_large = _refuse_above(1, most, errno.ENOMEM)
    anonymous = [(_AND, 0, 0, _MAP_TYPE | _ANONYMOUS), (_IF_EQUAL, 0, len(too_large), _SHARED | _ANONYMOUS)]
    return [
        *_when(_MMAP[column], [*_argument(3), *anonymous, *too_large]),
        *_when(_SHMGET[column], too_large),
    ]


# ---- pieces. Each returns from the filter, or continues after its end.


def _refuse(error: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERROR | error)


def _refuse_if(value: int, error: int = errno.EPERM) -> list[_Instruction]:
    return [(_IF_EQUAL, 0, 1, value), _refuse(error)]


def _refuse_bits(bits: int) -> list[_Instruction]:
    return [(_IF_ANY_BIT, 0, 1, bits), _refuse(errno.EPERM)]


def _refuse_above(place: int, most: int, error: int) -> list[_Instruction]:
    """Refuse a larger argument of 64 bits, on a little-endian machine."""
    lower, upper = 16 + 8 * place, 20 + 8 * place
    return [
        *((_LOAD, 0, 0, upper), (_IF_GREATER, 3, 0, most >> 32), (_IF_EQUAL, 0, 3, most >> 32)),
        *((_LOAD, 0, 0, lower), (_IF_GREATER, 0, 1, most & 0xFFFF_FFFF)),
        _refuse(error),
    ]


def _only(values: Iterable[int], error: int) -> list[_Instruction]:
    """Refuse all other values."""
    known = list(values)
    tests = [(_IF_EQUAL, len(known) - place, 0, value) for place, value in enumerate(known)]
    return [*tests, _refuse(error)]


def _argument(place: int) -> list[_Instruction]:
    """Load the lower half of an argument, on a little-endian machine: these arguments are ints for the kernel."""
    return [(_LOAD, 0, 0, 16 + 8 * place)]


def _when(number: int, block: list[_Instruction]) -> list[_Instruction]:
    """Run the block for one system call. It ends by allowing the call, since the block has overwritten the number."""
    if number < 0:
        return []
    return [(_IF_EQUAL, 0, len(block) + 1, number), *block, (_RETURN, 0, 0, _ALLOW)]
