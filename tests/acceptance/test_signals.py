"""behaviour.md, Ctrl-C and other signals: how a run is stopped from outside. Nothing of it may be left."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from rlm_testkit import law
from rlm_testkit.cli import COMMAND, Done, Json, Rlm
from rlm_testkit.leftovers import nothing_left, processes, scratch
from rlm_testkit.scripted import Answer, Request, Scripted, call, calls, error, text
from rlm_testkit.waiting import until

Make = Callable[[Scripted], Rlm]

BUSY = "print('in it', flush=True)\nwhile True: pass"
AWAITING = "import asyncio\nprint('in it', flush=True)\nawait asyncio.sleep(1000)"
DEAF = (
    "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('in it', flush=True)\n"
    "while True:\n    try:\n        time.sleep(1000)\n    except BaseException: pass"
)
COMMANDS = "!trap '' INT TERM HUP; setsid sleep 1000 & echo in it; sleep 1000"
DAEMON = (
    "import os, subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: os.execvp('sleep', ['sleep', '1000'])\n    os._exit(0)\n"
    "print('in it', flush=True)"
)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The TMPDIR of the command."""
    with scratch() as folder:
        yield folder


def start(command: Rlm, *words: str, **env: str) -> subprocess.Popen[bytes]:
    """Start it with a shell's signal handling, because the tests themselves may ignore some signals."""
    return subprocess.Popen(
        ["env", "--default-signal=INT,HUP", str(COMMAND), *words],
        cwd=command.cwd,
        env=command.env(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def records_until(process: subprocess.Popen[bytes], *wanted: str) -> list[Json]:
    """Read the lines of `--json` until cells have printed each of these texts."""
    missing, lines = set(wanted), []
    assert process.stdout is not None
    while missing:
        line = process.stdout.readline()
        assert line, process.communicate()
        lines.append(json.loads(line))
        missing -= {text for text in missing if text in str(lines[-1].get("text"))}
    return lines


def end(process: subprocess.Popen[bytes], command: Rlm) -> Done:
    out, err = process.communicate(timeout=60)
    assert b"Traceback" not in err
    return Done(process.returncode, out.decode(), err.decode(), command.cwd)


# ---- in the middle of something

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_ends_the_run_in_order(rlm: Make, temporary: Path, number: signal.Signals, code: int) -> None:
    """The cell is interrupted, the journal closed, the resume line printed, and nothing is left."""
    turn = calls(("ipython", {"code": BUSY}), ("ipython", {"code": "2"}), content="Let me look.")
    with Scripted(turn) as server:
        command = rlm(server)
        process = start(command, "--json", "go", TMPDIR=str(temporary))
        records_until(process, "in it")
        process.send_signal(number)
        done = end(process, command)
    nothing_left(command, temporary)
    law.check(done.session, server)
    assert code == done.code == done.lines[-1]["exit_code"]
    assert ("cancelled", "cancelled") == (done.session.meta["status"], done.session.meta["stop_reason"])
    assert "Let me look." == done.lines[-1]["answer"]
    assert f"rlm resume {done.session.meta['session_id'][:4]}" in done.err.splitlines()[-1]
    assert "interrupted" in done.err.splitlines()[-1]


@pytest.mark.parametrize("cell", [AWAITING, DEAF, COMMANDS], ids=["awaiting", "deaf", "commands"])
def test_ctrl_c_ends_any_cell(rlm: Make, temporary: Path, cell: str) -> None:
    with Scripted(call("ipython", code=cell)) as server:
        command = rlm(server)
        process = start(command, "--json", "go", TMPDIR=str(temporary))
        records_until(process, "in it")
        process.send_signal(signal.SIGINT)
        done = end(process, command)
    nothing_left(command, temporary)
    law.check(done.session, server)
    assert (130, "cancelled") == (done.code, done.session.meta["status"])


def test_ctrl_c_ends_a_command_and_what_it_started(rlm: Make, temporary: Path) -> None:
    command = "trap '' INT TERM HUP; (setsid sleep 1000; sleep 1000) & echo in it; sleep 1000"
    with Scripted(call("bash", command=command)) as server:
        rlm_command = rlm(server)
        process = start(rlm_command, "--json", "go", TMPDIR=str(temporary), RLM_TOOLS="bash")
        records_until(process, "in it")
        process.send_signal(signal.SIGINT)
        done = end(process, rlm_command)
    nothing_left(rlm_command, temporary)
    law.check(done.session, server)
    assert 130 == done.code


def test_ctrl_c_cancels_the_children(rlm: Make, temporary: Path) -> None:
    """Each child has a cell, and their parent a cell that waits for them. test_tree_limits.py tests the queue."""
    cell = "import asyncio\nawait asyncio.gather(*(rlm.run(str(n)) for n in range(20)))"
    numbers = itertools.count()  # any of the twenty may come first

    def script(request: Request) -> Answer:
        if not request.depth:
            return call("ipython", code=cell)
        return call("ipython", code=f"print('in {next(numbers)}', flush=True)\nwhile True: pass")

    with Scripted(script) as server:
        command = rlm(server)
        limits = {"RLM_MAX_DEPTH": "1", "RLM_MAX_CONCURRENT_AGENTS": "3"}
        process = start(command, "--json", "go", TMPDIR=str(temporary), **limits)
        records_until(process, "in 0", "in 1", "in 2")
        process.send_signal(signal.SIGINT)
        done = end(process, command)
    nothing_left(command, temporary)
    law.check(done.session, server)
    assert (130, 4) == (done.code, done.lines[-1]["agents"])
    assert ["cancelled"] * 3 == [child.meta["status"] for child in done.session.children]
    ends = [record["stop"] for record in done.session.records if record["type"] == "agent_end"]
    assert ["cancelled"] * 3 == ends
    assert "kernel" not in [record["type"] for record in done.session.records], "the cell stopped at the interrupt"


@pytest.mark.parametrize(
    "waiting", [text("late").after(600), error(503, "Overloaded"), error(429, "s", retry_after="200")]
)
def test_ctrl_c_ends_the_wait_for_the_provider(without_tools: Make, temporary: Path, waiting: Answer) -> None:
    with Scripted(lambda _: waiting) as server:
        command = without_tools(server)
        process = start(command, "--json", "go", TMPDIR=str(temporary))
        server.wait(lambda s: s.requests)
        process.send_signal(signal.SIGINT)
        done = end(process, command)
        failed = len(server.requests)
    nothing_left(command, temporary)
    law.check(done.session, server, failed=failed)
    assert (130, "cancelled") == (done.code, done.session.meta["status"])


@pytest.mark.parametrize("cell", [BUSY, DEAF], ids=["busy", "deaf"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_pressing_many_times_still_ends_the_run_in_order(
    rlm: Make, temporary: Path, number: signal.Signals, code: int, cell: str
) -> None:
    with Scripted(call("ipython", code=cell)) as server:
        command = rlm(server)
        process = start(command, "--json", "go", TMPDIR=str(temporary))
        records_until(process, "in it")
        for _ in range(3):
            process.send_signal(number)
        done = end(process, command)
    nothing_left(command, temporary)
    law.check(done.session, server)
    assert (code, "cancelled") == (done.code, done.session.meta["status"])
    assert "rlm resume" in done.err


def test_a_run_that_ignores_sighup_continues(rlm: Make) -> None:
    """As with nohup."""
    with Scripted(
        call("ipython", code="print('in it', flush=True)\nimport time\ntime.sleep(1)"), text("end")
    ) as server:
        command = rlm(server)
        process = subprocess.Popen(
            ["bash", "-c", f"trap '' HUP; exec '{COMMAND}' --json go"],
            cwd=command.cwd,
            env=command.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        records_until(process, "in it")
        process.send_signal(signal.SIGHUP)
        done = end(process, command)
    assert (0, "end") == (done.code, done.lines[-1]["answer"])


# ---- SIGKILL


def test_a_killed_command_leaves_no_kernel_no_child_and_no_folder(rlm: Make, temporary: Path) -> None:
    """With kernels of busy children, and daemons that cells have started."""
    cell = f"{DAEMON}\nimport asyncio\nawait asyncio.gather(*(rlm.run(str(n)) for n in range(2)))"

    def script(request: Request) -> Answer:
        return call(
            "ipython", code=f"print('in {request.task}', flush=True)\nwhile True: pass" if request.depth else cell
        )

    with Scripted(script) as server:
        command = rlm(server)
        process = start(command, "--json", "go", TMPDIR=str(temporary), RLM_MAX_DEPTH="1")
        records_until(process, "in 0", "in 1")
        assert len(processes(command)) >= 6, "the host, the zygote, three kernels, two daemons"
        process.kill()
        process.communicate(timeout=60)
    nothing_left(command, temporary)
    for session in (command.session, *command.session.children):
        assert "running" == session.meta["status"]
        assert all(line for line in (session.folder / "messages.jsonl").read_text().splitlines())


def test_a_killed_command_leaves_no_command_of_bash(rlm: Make, temporary: Path) -> None:
    command = "trap '' INT TERM HUP; (setsid sleep 1000; sleep 1000) & echo in it; sleep 1000"
    with Scripted(call("bash", command=command)) as server:
        rlm_command = rlm(server)
        process = start(rlm_command, "--json", "go", TMPDIR=str(temporary), RLM_TOOLS="bash")
        records_until(process, "in it")
        process.kill()
        process.communicate(timeout=60)
    nothing_left(rlm_command, temporary)


# ---- after any other end

ENDS: dict[str, tuple[Answer, int]] = {
    "an answer": (text("end"), 0),
    "an error": (error(400, "no"), 1),
    "a limit": (text("e", "content_filter"), 3),
}


HIDDEN = [
    'env -i setsid -f sh -c "sleep 1000; : $PWD"',
    'env -i setsid sh -c "setsid sh -c \\"sleep 1000; : $PWD\\" & sleep 1000; : $PWD" >/dev/null 2>&1 &',
    "(exec env -i nohup setsid -f sh -c \"trap '' TERM HUP; sleep 1000; : $PWD\" >/dev/null 2>&1 </dev/null)",
    'env -i setsid -f sh -c "while :; do setsid -f sh -c \\"sleep 1; : $PWD\\"; sleep 0.2; done; : $PWD"',
]
"""Commands that start a detached process with an empty environment. Its arguments contain the run's folder."""


@pytest.mark.parametrize("ending", ENDS)
def test_nothing_is_left_after(rlm: Make, temporary: Path, ending: str) -> None:
    """Not even daemons that cells and commands have started."""
    answer, code = ENDS[ending]
    daemon = "\n".join(["setsid sleep 1000 >/dev/null 2>&1 & (sleep 1000 &) ; echo on", *HIDDEN])
    hidden = f"import subprocess\nsubprocess.run({daemon!r}, shell=True, env={{}}, start_new_session=True)"
    running: list[str] = []

    def script(request: Request) -> Answer:
        if request.turn == 3:
            until(lambda: len(hidden_processes(command)) >= 8, lambda: hidden_processes(command))
            running.extend(hidden_processes(command))
        turns = [call("ipython", code=DAEMON), call("ipython", code=hidden), call("bash", command=daemon), answer]
        return turns[request.turn]

    with Scripted(script) as server:
        command = rlm(server)
        done = command("go", TMPDIR=str(temporary), RLM_TOOLS="ipython,bash")
    nothing_left(command, temporary)
    assert code == done.code
    assert 8 <= len(running), "they continue between cells"


def hidden_processes(rlm: Rlm) -> list[str]:
    """The last argument of each process that a command of `HIDDEN` has started."""
    words = []
    for process in processes(rlm):
        with suppress(psutil.Error):
            words += [word for word in process.cmdline()[-1:] if "sleep 1000; : " in word]
    return words


def test_a_background_process_of_a_command_is_not_left_as_a_zombie(rlm: Make) -> None:
    """It then is a child of the `rlm` command, which reaps it when the next command has ended."""
    until_it_is_over = "until grep -q 'State:.Z' /proc/$(cat pid)/status; do sleep 0.01; done; echo it is over"
    states = []

    def script(request: Request) -> Answer:
        commands = ["sleep 0.1 & echo $! > pid", until_it_is_over]
        if request.turn < len(commands):
            return call("bash", command=commands[request.turn])
        states.append(psutil.pid_exists(int((command.cwd / "pid").read_text())))
        return text("end")

    with Scripted(script) as server:
        command = rlm(server)
        done = command("go", RLM_TOOLS="bash")
    assert done.session.results[1].startswith("it is over")
    assert states == [False]


def test_kernels_and_children_inherit_no_stream_of_ours(rlm: Make) -> None:
    """Neither the zygote nor a kernel nor a command holds the pipes of rlm's own streams."""
    cell = (
        "import os, pathlib\n"
        "def links(pid):\n    return sorted({os.readlink(f) for f in pathlib.Path(f'/proc/{pid}/fd').iterdir() if f.is_symlink()})\n"
        "print(*links(os.getpid()), *links(os.getppid()))\n"
        "!ls -l /proc/self/fd"
    )
    with Scripted(call("ipython", code=cell), call("bash", command="ls -l /proc/self/fd"), text("end")) as server:
        rlm_command = rlm(server)
        process = start(rlm_command, "--json", "go", RLM_TOOLS="ipython,bash")
        pipes = [f"pipe:[{os.fstat(end.fileno()).st_ino}]" for end in (process.stdout, process.stderr) if end]
        done = end(process, rlm_command)
    kernel, command = done.session.results
    assert "/dev/null" in kernel
    assert "/dev/null" in command
    assert "pipe:[" in kernel
    assert [] == [pipe for pipe in pipes if pipe in kernel + command]


# ---- memory


def test_three_hundred_megabytes_printed_cost_the_host_less_than_sixty(rlm: Make) -> None:
    """Measured by the operating system: VmHWM is the peak memory of a process."""
    peaks: list[int] = []

    def script(request: Request) -> Answer:
        host = next(p for p in processes(command) if p.ppid() == os.getpid())
        peaks.append(peak(host))
        cells = ["print('warm')", "for _ in range(300): print('x' * 1_000_000)"]
        return call("ipython", code=cells[request.turn]) if request.turn < 2 else text("end")

    with Scripted(script) as server:
        command = rlm(server)
        done = command("go", RLM_MAX_OUTPUT="10000")
    assert 0 == done.code
    assert 300_000_300 == (done.session.folder / "outputs" / "cell-2.txt").stat().st_size
    assert len(done.session.results[1]) < 11_000
    _, before, after = peaks
    assert after - before < 60_000_000


def peak(process: psutil.Process) -> int:
    """The peak memory in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
