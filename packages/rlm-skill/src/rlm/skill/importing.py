"""Test whether skills can be imported, each in its own process: a fork of one that has imported rlm.skill.

If a skill prints, exits, hangs or crashes during its import, the other skills and the caller are not affected.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from traceback import format_exception_only
from typing import NoReturn

_PROGRAM = "from rlm.skill.importing import serve; serve()"
_LONGEST = 2_000  # maximum bytes of a reason: a pipe holds this much before anybody reads


def try_imports(names: Sequence[str], seconds: float = 30, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Import skills, each in its own process.

    Args:
        names: Their import names.
        seconds: How long each may take.
        env: The environment to try it in; by default ours.

    Returns:
        The reason, as one line, for each skill that cannot be imported.
    """
    lanes = min(len(names), os.cpu_count() or 1)
    shares = [names[lane::lanes] for lane in range(lanes)]
    started = [_start(share, seconds, env) for share in shares]
    wrong: dict[str, str] = {}
    for share, process in zip(shares, started, strict=True):
        out, _ = process.communicate()
        answers = dict(map(json.loads, out.splitlines()))
        wrong |= {
            name: why for name in share if (why := answers.get(name, "its import ended the process that tried it"))
        }
    return wrong


def _start(names: Sequence[str], seconds: float, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    # -I: PYTHONPATH may lead into a project, where a cell could have put a module of this name
    command = [sys.executable, "-I", "-c", _PROGRAM, str(seconds), *names]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env
    )


def main() -> None:
    """`python -I -m rlm.skill.importing NAME...`: print a line for each skill that cannot be imported."""
    for name, why in try_imports(sys.argv[1:]).items():
        print(f"the skill {name} cannot be imported: {why}")


def serve() -> None:
    """The test program; it gets the seconds and the names.

    Prints JSON pairs of a name and the reason of its failure.
    """
    seconds, names = float(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited SIG_IGN would lose the exit status of our children
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    report = os.dup(1)
    os.dup2(2, 1)  # sends the output of skills to stderr
    for name in names:
        os.write(report, json.dumps([name, _try(name, seconds, report)]).encode() + b"\n")


def _try(name: str, seconds: float, report: int) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(report)  # the skill's own processes may outlive us, and the caller reads this to its end
        _import(name, seconds, writing)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    os.set_blocking(reading, False)  # a process that the skill has started may still hold the other end
    answer = _read(reading)
    os.close(reading)
    if answer:
        return str(json.loads(answer)["wrong"])
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        return f"its import takes more than {seconds:g} s"
    return f"its import ends Python with status {code}"


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2 * _LONGEST)
    except BlockingIOError:
        return b""


def _import(name: str, seconds: float, report: int) -> NoReturn:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        run = getattr(import_module(name), "run", None)
        wrong = "" if callable(run) else "it has no function `run`"
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it would end the kernel of the importing cell
        try:
            lines = format_exception_only(error)
        except Exception:  # noqa: BLE001 - the text of an exception comes from the skill's code
            lines = []
        text = " ".join(" ".join(lines[-1:]).split()) or type(error).__name__
        wrong = text.encode("ascii", "backslashreplace").decode()[: _LONGEST // 2]
    os.write(report, json.dumps({"wrong": wrong}).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
