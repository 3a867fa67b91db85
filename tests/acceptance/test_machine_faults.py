"""Every fault in packages/rlm-testkit/src/rlm_testkit/machine_faults.py, caused for real: signals, disks, folders, a
clock that jumps.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
import rlm_testkit
from rlm_testkit import law
from rlm_testkit.cli import Done, Json, Rlm, Session
from rlm_testkit.leftovers import nothing_left, scratch
from rlm_testkit.machine_faults import MACHINE_FAULTS, MachineFault
from rlm_testkit.namespace import Namespace
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, text

JUMPING = Path(rlm_testkit.__file__).parent / "jumping.c"


class Machine:
    """The environment of a run, and its provider, which answers from the script; to a resumed run it answers `went on`."""

    def __init__(self, folder: Path, temporary: Path, stack: ExitStack) -> None:
        self.stack = stack
        self.temporary = temporary
        self.server: Scripted
        self.rlm = Rlm(folder, {"RLM_MODEL": "scripted", "TMPDIR": str(temporary)})
        self.fix: Callable[[], object] = lambda: None
        self.failed = 0
        """Number of the run's requests that fail."""
        self._over = False
        self._disks: Namespace | None = None

    @property
    def cwd(self) -> Path:
        return self.rlm.cwd

    @property
    def disks(self) -> Namespace:
        """A mount namespace for disks, created at the first use."""
        if self._disks is None:
            self._disks = self.stack.enter_context(Namespace())
            self.rlm = self._disks.put_in(self.rlm)
        return self._disks

    def session(self) -> Session:
        """The only session, copied out of the namespace."""
        home = Path(self.rlm.environment.get("RLM_HOME", self.cwd / ".rlm"))
        if self._disks is not None:
            copy = self.rlm.folder / "copy"
            self.disks.run(f"rm -rf {shlex.quote(str(copy))}; cp -a {shlex.quote(str(home))} {shlex.quote(str(copy))}")
            home = copy
        (folder,) = (path for path in (home / "sessions").iterdir() if path.is_dir())
        return Session(folder)

    def make_read_only(self, folder: Path) -> None:
        path = shlex.quote(str(folder))
        self.disks.run(f"mount --bind {path} {path}; mount -o remount,ro,bind {path}")

    def script(self, *answers: Answer | Callable[[], Answer]) -> None:
        rest = iter(answers)

        def script(_: Request) -> Answer:
            answer = text("went on") if self._over else next(rest, text("end"))
            return answer() if callable(answer) else answer

        self.server = self.stack.enter_context(Scripted(script))
        self.set(RLM_BASE_URL=self.server.url)

    def set(self, **env: str) -> None:
        self.rlm = replace(self.rlm, environment={**self.rlm.environment, **env})

    def resume(self) -> Done:
        """Resume the session without a kernel, because no cell runs."""
        self._over = True
        self.fix()
        signed = (self.rlm.folder / "home" / ".local" / "state" / "rlm" / "session-key").exists()
        words = [] if signed else [self.session().folder.name, "go on", "--trust"]
        return self.rlm("resume", "--tools", "", *words)

    def go(self, *flags: str) -> Done:
        return self.rlm(*flags, "go")

    def line(self, line: str) -> Done:
        """Run a line of bash, in which `rlm` is the command."""
        words = ["bash", "-c", f'rlm() {{ {shlex.quote(str(self.rlm.command))} "$@"; }}; {line}']
        done = subprocess.run(
            words, cwd=self.cwd, env=self.rlm.env(), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode(), self.cwd)

    def start(self, *before: str) -> subprocess.Popen[bytes]:
        """Start a run with a shell's signal handling, and wait for the output of its cell."""
        words = ["env", "--default-signal=INT,HUP", *before, str(self.rlm.command), "--json", "go"]
        process = subprocess.Popen(
            words,
            cwd=self.cwd,
            env=self.rlm.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.said = b""
        assert process.stdout is not None
        while b"in it" not in (line := process.stdout.readline()) or b"cell_output" not in line:
            assert line, process.communicate()
            self.said += line
        return process

    def end(self, process: subprocess.Popen[bytes]) -> Done:
        out, err = process.communicate(timeout=100)
        code = process.returncode
        return Done(code if code >= 0 else 128 - code, (self.said + out).decode(), err.decode(), self.cwd)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as stack, scratch() as temporary:
        yield Machine(tmp_path, temporary, stack)


# ---- signals

BUSY = "print('in it', flush=True)\nwhile True: pass"
DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('in it', flush=True)\nwhile True: pass"
DYING = "import os\nprint('in it', flush=True)\nos._exit(3)"
SHORT = "import time\nprint('in it', flush=True)\ntime.sleep(1)"


def signalled(*signals: signal.Signals, cell: str = BUSY, under: tuple[str, ...] = ()) -> Callable[[Machine], Done]:
    def provoke(machine: Machine) -> Done:
        machine.script(call("ipython", code=cell))
        process = machine.start(*under)
        for number in signals:
            process.send_signal(number)
        return machine.end(process)

    return provoke


def line(line: str, *answers: Answer) -> Callable[[Machine], Done]:
    def provoke(machine: Machine) -> Done:
        machine.script(*answers)
        return machine.line(line)

    return provoke


def reader_of_stderr_leaves(machine: Machine) -> Done:
    machine.script(call("ipython", code="import time\ntime.sleep(0.5)"), text("the answer"))
    done = machine.line("rlm go 2>&1 >answer | head -n 1; exit ${PIPESTATUS[0]}")
    assert (machine.cwd / "answer").read_text() == "the answer\n"
    return done


# ---- disks

FILL = """
try:
    with open("big", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError as error:
    print(error)
print("y" * 9_000)
"""


def full_disk(machine: Machine) -> Done:
    """A cell's file fills it. The records that were reported before are in the journal."""
    machine.disks.run(f"mount -t tmpfs -o size=1m tmpfs {machine.cwd}")
    machine.fix = lambda: machine.disks.run(f"rm {machine.cwd}/big")
    machine.script(call("ipython", code="1"), call("ipython", code=FILL))
    done = machine.go("--json")
    reported = [without_agent(record) for record in done.lines if "id" in record]
    assert machine.session().unsigned == reported
    return done


def without_agent(record: Json) -> Json:
    return {name: value for name, value in record.items() if name != "agent"}


def full_before(machine: Machine) -> Done:
    machine.disks.run(f"mount -t tmpfs -o size=64k tmpfs {machine.cwd}; cat /dev/zero >{machine.cwd}/big || true")
    machine.script()
    return machine.go()


def output_read_only(machine: Machine) -> Done:
    folder = machine.rlm.folder / "read-only"
    folder.mkdir()
    machine.make_read_only(folder)
    machine.script()
    return machine.go("-o", str(folder / "file"))


def home_read_only(machine: Machine) -> Done:
    folder = machine.rlm.folder / "read-only"
    folder.mkdir()
    machine.make_read_only(folder)
    machine.script()
    machine.set(RLM_HOME=str(folder / "home"))
    return machine.go()


def cwd_read_only(machine: Machine) -> Done:
    machine.make_read_only(machine.cwd)
    machine.script(call("ipython", code="1"))
    return machine.go()


def cwd_read_only_and_home_elsewhere(machine: Machine) -> Done:
    machine.set(RLM_HOME=str(machine.rlm.folder / "elsewhere"))
    return cwd_read_only(machine)


def users_home(read_only: bool) -> Callable[[Machine], Done]:
    def provoke(machine: Machine) -> Done:
        home = machine.rlm.folder / "nobody"
        if read_only:
            home.mkdir()
            machine.make_read_only(home)
        machine.set(HOME=str(home))
        machine.script(call("ipython", code="1"))
        return machine.go()

    return provoke


# ---- folders

REMOVE = "import os, shutil\nshutil.rmtree(os.getcwd())"


def cwd_gone(machine: Machine) -> Done:
    machine.script()
    return machine.line("mkdir gone; cd gone; rmdir ../gone; rlm go")


def cwd_removed(*more: Answer, home: str = "") -> Callable[[Machine], Done]:
    def provoke(machine: Machine) -> Done:
        if home:
            machine.set(RLM_HOME=str(machine.rlm.folder / home))
        machine.script(call("ipython", code=REMOVE), *more)
        return machine.go()

    return provoke


def temporary(name: str, *, create: bool = False, read_only: bool = False) -> Callable[[Machine], Done]:
    def provoke(machine: Machine) -> Done:
        folder = machine.rlm.folder / name
        machine.set(TMPDIR=str(folder))
        if create or read_only:
            folder.mkdir()
        if read_only:
            machine.make_read_only(folder)
        machine.script(call("ipython", code="1"))
        return machine.go()

    return provoke


def nothing_temporary(machine: Machine) -> Done:
    for folder in (Path("/tmp"), Path("/var/tmp"), machine.cwd):
        machine.make_read_only(folder)
    machine.set(TMPDIR="")
    machine.script()
    return machine.go()


def long_and_no_other(machine: Machine) -> Done:
    folder = machine.rlm.folder / ("long" * 50)
    folder.mkdir()
    machine.set(TMPDIR=str(folder))
    machine.make_read_only(Path("/tmp"))
    own = shlex.quote(str(machine.rlm.folder))
    machine.disks.run(f"mount --bind {own} {own}; mount -o remount,rw,bind {own}")
    machine.script()
    return machine.go()


# ---- limits

CELL = call("ipython", code="import subprocess\nsubprocess.run(['true'])\n!true")


def limited(*limits: str) -> Callable[[Machine], Done]:
    return line("".join(f"ulimit {limit}; " for limit in limits) + "rlm go", CELL)


def no_proc(machine: Machine) -> Done:
    machine.disks.run("mount -t tmpfs none /proc")
    machine.script()
    return machine.go()


def no_shared_memory(machine: Machine) -> Done:
    machine.make_read_only(Path("/dev/shm"))
    machine.script(CELL)
    return machine.go()


# ---- the clock

YEARS = 10 * 365 * 86_400
JUMP = """
import time
began = time.time()
print("in it", flush=True)
while time.time() - began < 86_400:
    time.sleep(0.01)
print("it has jumped")
"""


def clock_jumps(machine: Machine) -> Done:
    """Forward while a cell runs, back while the provider is asked, which wants no request before a certain date."""
    jump = machine.rlm.folder / "jump"
    set_clock(jump, 0)

    def busy() -> Answer:
        set_clock(jump, -YEARS)
        now = time.time()
        return error(503, "busy", retry_after=formatdate(now + 2, usegmt=True), date=formatdate(now, usegmt=True))

    machine.failed = 1
    machine.script(call("ipython", code=JUMP), busy, text("end"))
    machine.set(LD_PRELOAD=str(compiled(machine.rlm.folder)), JUMP_FILE=str(jump))
    process = machine.start()
    set_clock(jump, YEARS)
    done = machine.end(process)
    check_times(done.session)
    return done


def set_clock(jump: Path, seconds: int) -> None:
    with jump.open("r+b" if jump.exists() else "xb") as file:
        file.write(struct.pack("q", seconds))


def compiled(folder: Path) -> Path:
    compiler = shutil.which("cc")
    assert compiler, "a C compiler is needed to change the clock: install gcc"
    library = folder / "jumping.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, JUMPING], check=True)
    return library


def check_times(session: Session) -> None:
    assert ["in it\nit has jumped\n"] == session.results
    stamps = [record["ts"] for record in session.records]
    assert stamps == sorted(stamps)
    meta = session.meta
    durations = [record["duration"] for record in session.records if "duration" in record]
    for seconds in (*durations, meta["end_time"] - meta["start_time"], meta["metrics"]["duration"]):
        assert 0 <= seconds < 86_400
    (wait,) = [record["wait"] for record in session.records if record["type"] == "retry"]
    assert wait < 60


# ---- all of them

LARGE = text("x" * 200_000)  # more than a pipe holds
PRINTING = call("ipython", code="import time\nwhile True:\n    print('x' * 100, flush=True)\n    time.sleep(0.01)")

PROVOKE: dict[str, Callable[[Machine], Done]] = {
    "SIGINT (Ctrl-C)": signalled(signal.SIGINT),
    "SIGINT twice, and a cell that ignores it": signalled(signal.SIGINT, signal.SIGINT, cell=DEAF),
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGHUP: the terminal is closed": signalled(signal.SIGHUP),
    "SIGHUP under `nohup`": signalled(signal.SIGHUP, cell=SHORT, under=("nohup",)),
    "SIGKILL": signalled(signal.SIGKILL),
    "who reads the answer leaves (`rlm … | head -c 1`)": line("rlm go | head -c 1; exit ${PIPESTATUS[0]}", LARGE),
    "who reads the lines of `--json` leaves": line(
        "rlm --json go | grep -m 1 cell_output; exit ${PIPESTATUS[0]}", PRINTING
    ),
    "who reads stderr leaves": reader_of_stderr_leaves,
    "stdin and stdout are closed": line("rlm go <&- >&-", call("ipython", code="1")),
    "its parent has blocked all signals (srun and mpirun block SIGCHLD), and a kernel dies": signalled(
        cell=DYING, under=("env", "--block-signal")
    ),
    "its parent ignores SIGCHLD, and a kernel dies": signalled(cell=DYING, under=("env", "--ignore-signal=CHLD")),
    "the disk of the session is full": full_disk,
    "it was full before": full_before,
    "stdout leads to a full disk": line("rlm go >/dev/full"),
    "stdout leads to a full disk, with `--json`": line("rlm --json go >/dev/full"),
    "stderr leads to a full disk": line("rlm go 2>/dev/full"),
    "the file of `-o` is on a full disk": line("rlm -o /dev/full go"),
    "the file of `-o` is on a read-only disk": output_read_only,
    "`RLM_HOME` is on a read-only disk": home_read_only,
    "a read-only working directory": cwd_read_only,
    "a read-only working directory, and `RLM_HOME` elsewhere": cwd_read_only_and_home_elsewhere,
    "a read-only home": users_home(read_only=True),
    "no home": users_home(read_only=False),
    "the working directory is gone": cwd_gone,
    "a cell removes the working directory, and the session in it": cwd_removed(),
    "a cell removes the working directory, and `RLM_HOME` is elsewhere": cwd_removed(
        call("ipython", code="1"), home="elsewhere"
    ),
    "a cell removes the working directory, and its kernel dies": cwd_removed(
        call("ipython", code="os._exit(1)"), call("ipython", code="1"), home="elsewhere"
    ),
    "a long `TMPDIR`: `/tmp` is used": temporary("long" * 50, create=True),
    "no such `TMPDIR`: `/tmp` is used": temporary("missing"),
    "a read-only `TMPDIR`: `/tmp` is used": temporary("locked", read_only=True),
    "no folder for temporary files anywhere": nothing_temporary,
    "a long `TMPDIR`, and `/tmp` is read-only": long_and_no_other,
    "`ulimit -v 900000`": limited("-v 900000"),
    "`ulimit -d 200000`": limited("-d 200000"),
    "`ulimit -n 32`": limited("-n 32"),
    "`ulimit -f 1000`": limited("-f 1000"),
    "`ulimit -s 256`": limited("-s 256"),
    "`ulimit -S -n 32`: rlm raises it": limited("-S -n 32"),
    "limits that are just enough": limited("-v 1000000", "-d 262144", "-n 64", "-f 16384", "-s 512"),
    "no `/proc`": no_proc,
    "a read-only `/dev/shm`": no_shared_memory,
    "somebody sets the clock forward by ten years, and back by twenty": clock_jumps,
}


def test_each_fault_is_provoked() -> None:
    assert list(PROVOKE) == [fault.name for fault in MACHINE_FAULTS]


def test_an_incomplete_record_is_reported_when_it_is_removed(machine: Machine) -> None:
    """As a power failure leaves it."""
    machine.script()
    with (machine.go().session.folder / "messages.jsonl").open("a") as journal:
        journal.write('{"type": "mess')
    resumed = machine.resume()
    assert "The last record was incomplete; 14 bytes were removed." in resumed.err
    assert (0, "went on\n") == (resumed.code, resumed.out)


@pytest.mark.parametrize("fault", MACHINE_FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_the_machine_ends_as_the_table_says(machine: Machine, fault: MachineFault) -> None:
    done = PROVOKE[fault.name](machine)
    nothing_left(machine.rlm, machine.temporary)
    check_words(fault, done)
    assert fault.code == done.code
    assert fault.begun == bool(machine.server.requests)
    statuses = [row["status"] for row in machine.rlm("ls", "--json").lines]
    assert ([] if fault.session == "none" else [fault.session]) == statuses
    if fault.session != "none":
        resumed = machine.resume()
        assert (0, "went on\n") == (resumed.code, resumed.out), resumed.err
        law.check(machine.session(), machine.server, failed=machine.failed)


def check_words(fault: MachineFault, done: Done) -> None:
    """The error is reported once, as the last line."""
    assert "Traceback" not in done.err
    lines = done.err.splitlines()
    if fault.sees:
        assert re.fullmatch(re.escape(fault.sees).replace("…", ".*"), lines[-1]), done.err
    assert [] == [line for line in lines[:-1] if line.startswith("rlm: ")]


def test_a_low_limit_of_processes_is_reported_before_anything_begins(machine: Machine) -> None:
    """Root has no limit of processes, so root becomes another user in a user namespace."""
    somebody = "unshare --user --map-user=1000 " if os.geteuid() == 0 else ""
    machine.script()
    done = machine.line(f"ulimit -u 40; exec {somebody}rlm go")
    assert re.fullmatch(
        r"rlm: The system allows 40 processes, of which \d+ run, and rlm needs 64: ulimit -u\.\n", done.err
    )
    assert (2, []) == (done.code, machine.server.requests)
