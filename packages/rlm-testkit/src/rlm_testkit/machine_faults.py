"""Faults that the machine or its users cause in a run.

docs/faults.md is generated from this list, and the tests prove it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Session = Literal["done", "cancelled", "error", "lost", "none"]


@dataclass(frozen=True, slots=True)
class MachineFault:
    """`sees` is the last line on stderr, with any text for `…`; `code` the exit code, as a shell reports it.

    `session` is its status in `rlm ls` afterwards; if there is a session, `rlm resume` can continue it. `begun`:
    whether the provider was asked.
    """

    name: str
    sees: str
    code: int
    session: Session
    begun: bool = True


RESUME = "… · rlm resume …"
CANCELLED = f"interrupted{RESUME}"


def ends(name: str, code: int) -> MachineFault:
    """The run ends in order, and at once."""
    return MachineFault(name, CANCELLED, code, "cancelled")


def passes(name: str) -> MachineFault:
    """The run is not affected."""
    return MachineFault(name, RESUME, 0, "done")


def refused(name: str, sees: str, code: int = 1) -> MachineFault:
    """The run is refused before it begins."""
    return MachineFault(name, f"rlm: {sees}", code, "none", begun=False)


SIGNALS = [
    ends("SIGINT (Ctrl-C)", 130),
    ends("SIGINT twice, and a cell that ignores it", 130),
    ends("SIGTERM", 143),
    ends("SIGHUP: the terminal is closed", 129),
    passes("SIGHUP under `nohup`"),
    MachineFault("SIGKILL", "", 137, "lost"),
    MachineFault("who reads the answer leaves (`rlm … | head -c 1`)", RESUME, 0, "done"),
    MachineFault("who reads the lines of `--json` leaves", CANCELLED, 141, "cancelled"),
    MachineFault("who reads stderr leaves", "", 0, "done"),
    passes("stdin and stdout are closed"),
    passes("its parent has blocked all signals (srun and mpirun block SIGCHLD), and a kernel dies"),
    passes("its parent ignores SIGCHLD, and a kernel dies"),
]

NO_SPACE = "No space left on device"
UNWRITABLE = f"rlm: stdout cannot be written: {NO_SPACE}."
ELSEWHERE = "Set RLM_HOME to a folder that you can write to."
READ_ONLY = f"Sessions cannot be stored in …: Read-only file system. {ELSEWHERE}"

DISKS = [
    MachineFault(
        "the disk of the session is full",
        f"rlm: The session cannot be written: {NO_SPACE}. Free disk space and resume it.",
        1,
        "lost",
    ),
    refused("it was full before", f"Sessions cannot be stored in …: {NO_SPACE}. {ELSEWHERE}"),
    MachineFault("stdout leads to a full disk", UNWRITABLE, 1, "done"),
    MachineFault("stdout leads to a full disk, with `--json`", UNWRITABLE, 1, "cancelled", begun=False),
    MachineFault("stderr leads to a full disk", "", 0, "done"),
    MachineFault("the file of `-o` is on a full disk", f"rlm: … could not be written: {NO_SPACE}.", 1, "done"),
    refused("the file of `-o` is on a read-only disk", "… cannot be written: Read-only file system.", 2),
    refused("`RLM_HOME` is on a read-only disk", READ_ONLY),
    refused("a read-only working directory", READ_ONLY),
    passes("a read-only working directory, and `RLM_HOME` elsewhere"),
    passes("a read-only home"),
    passes("no home"),
]

FOLDERS = [
    refused("the working directory is gone", "The working directory no longer exists. Change to one that exists.", 2),
    MachineFault(
        "a cell removes the working directory, and the session in it",
        "rlm: The session cannot be written: No such file or directory. Its folder was removed.",
        1,
        "none",
    ),
    passes("a cell removes the working directory, and `RLM_HOME` is elsewhere"),
    MachineFault(
        "a cell removes the working directory, and its kernel dies",
        "rlm: A kernel could not be started: its folder … no longer exists.",
        1,
        "error",
    ),
    passes("a long `TMPDIR`: `/tmp` is used"),
    passes("no such `TMPDIR`: `/tmp` is used"),
    passes("a read-only `TMPDIR`: `/tmp` is used"),
    refused(
        "no folder for temporary files anywhere",
        "No temporary folder can be created: No usable temporary directory found in …. "
        "Set TMPDIR to a folder that you can write to.",
        2,
    ),
    refused(
        "a long `TMPDIR`, and `/tmp` is read-only",
        "No temporary folder can be created: … is too long for sockets, which may have 50 bytes, and /tmp: "
        "Read-only file system. Set TMPDIR to a shorter one.",
        2,
    ),
]


def too_little(what: str, sees: str) -> MachineFault:
    return refused(what, f"The system allows {sees}.", 2)


LIMITS = [
    too_little("`ulimit -v 900000`", "900,000 kB of address space, and rlm needs 1,000,000: ulimit -v"),
    too_little("`ulimit -d 200000`", "200,000 kB of data, and rlm needs 262,144: ulimit -d"),
    too_little("`ulimit -n 32`", "32 open files, and rlm needs 64: ulimit -n"),
    too_little("`ulimit -f 1000`", "1,000 kB for a file, and rlm needs 16,384: ulimit -f"),
    too_little("`ulimit -s 256`", "256 kB of stack, and rlm needs 512: ulimit -s"),
    passes("`ulimit -S -n 32`: rlm raises it"),
    passes("limits that are just enough"),
    refused(
        "no `/proc`",
        "/proc is not mounted, and rlm needs it to find what its kernels start: mount -t proc proc /proc.",
        2,
    ),
    passes("a read-only `/dev/shm`"),
]

CLOCKS = [
    passes("somebody sets the clock forward by ten years, and back by twenty"),
]

GROUPS = {
    "Signals": SIGNALS,
    "Disks": DISKS,
    "Folders": FOLDERS,
    "Limits of the system": LIMITS,
    "The clock": CLOCKS,
}
MACHINE_FAULTS = [fault for faults in GROUPS.values() for fault in faults]
