"""Faults that a cell can cause in its kernel, and their outcome.

docs/faults.md is generated from this list, and the tests prove it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fate = Literal["lives", "a fresh one"]

LIVES: Fate = "lives"
FRESH: Fate = "a fresh one"

KEPT = "[timed out after 0.5 s: interrupted; the kernel and its variables are kept]"
AFTER = "after"  # printed after the fault
DEAF = "[timed out after 0.5 s and ignored the interrupt, so the kernel was killed."
LITTLE_MEMORY = "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (500 << 20, 500 << 20))"


@dataclass(frozen=True, slots=True)
class KernelFault:
    """`reads` is part of the cell's result, with any text for `…`; `ok` is whether the cell counts as a success.

    If a single cell cannot show the fault, `test` names a test instead of `code`, and `reads` says what it proves.
    """

    name: str
    code: str
    kernel: Fate
    reads: str
    kept: bool
    """Whether the variables of earlier cells still exist afterwards."""
    ok: bool = False
    hangs: bool = False
    test: str = ""

    @property
    def cell(self) -> str:
        """The code, after a word that must not be lost.

        Code with this word prints it when it is ready to be interrupted.
        """
        return self.code if "before" in self.code else f"print('before', flush=True)\n{self.code}"


def dies(name: str, code: str, why: str) -> KernelFault:
    return KernelFault(name, code, FRESH, f"[the kernel died: {why}.", kept=False)


def ends(name: str, code: str, reason: str) -> KernelFault:
    return KernelFault(name, code, FRESH, f"[{reason}, so the kernel ended.", kept=False)


def stops(name: str, code: str) -> KernelFault:
    """A cell that hangs until it is interrupted."""
    return KernelFault(name, code, LIVES, KEPT, kept=True, hangs=True)


def deaf(name: str, code: str) -> KernelFault:
    """A cell that hangs, and cannot be interrupted."""
    return KernelFault(name, code, FRESH, DEAF, kept=False, hangs=True)


def fails(name: str, code: str, reads: str) -> KernelFault:
    return KernelFault(name, code, LIVES, reads, kept=True)


def passes(name: str, code: str, reads: str = "") -> KernelFault:
    return KernelFault(name, code, LIVES, reads, kept=True, ok=True)


def proved(name: str, test: str, reads: str, kernel: Fate = LIVES) -> KernelFault:
    return KernelFault(name, "", kernel, reads, kept=kernel == LIVES, test=f"packages/rlm-core/tests/kernel/{test}")


DEATHS = [
    dies("`os._exit`", "import os; os._exit(3)", "its process exited with code 3"),
    dies("`os._exit(0)`", "import os; os._exit(0)", "its process exited with code 0"),
    dies(
        "`os._exit` after `await`", "import os\nawait asyncio.sleep(0)\nos._exit(5)", "its process exited with code 5"
    ),
    dies(
        "`os._exit` in a thread",
        "import os, threading\nthreading.Timer(0.1, os._exit, [4]).start()\nthreading.Event().wait()",
        "its process exited with code 4",
    ),
    dies(
        "`os._exit` in a `__repr__`",
        "class Mine:\n    def __repr__(self): __import__('os')._exit(6)\nMine()",
        "its process exited with code 6",
    ),
    dies(
        "another program by `os.execv`",
        "import os; os.execv('/bin/sh', ['sh', '-c', 'exit 7'])",
        "its process exited with code 7",
    ),
    dies(
        "SIGKILL, as when the system runs out of memory",
        "import os; os.kill(os.getpid(), 9)",
        "it was killed by SIGKILL, as the system does when memory runs out",
    ),
    dies("SIGTERM", "import os; os.kill(os.getpid(), 15)", "it was ended by SIGTERM"),
    dies("another signal", "import signal; signal.raise_signal(signal.SIGUSR1)", "it was killed by signal 10"),
    dies("`os.abort`", "import os; os.abort()", "it aborted with SIGABRT"),
    KernelFault(
        "an invalid memory access (SIGSEGV)",
        "import ctypes\ndef culprit(): ctypes.string_at(0)\nculprit()",
        FRESH,
        "Fatal Python error: Segmentation fault…in culprit…[the kernel died: it crashed with SIGSEGV, an invalid memory access.",
        kept=False,
    ),
    proved(
        "all descriptors closed",
        "test_kernel_death.py::test_a_kernel_without_descriptors_ends_at_once",
        "that the kernel died, and of what",
        FRESH,
    ),
    dies(
        "the process that starts kernels killed",
        "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(60)",
        "it was killed…",
    ),
    ends("`exit()`", "exit()", "the cell called exit()"),
    ends("`do_shutdown`", "get_ipython().kernel.do_shutdown(False);", "the cell shut the kernel down"),
    ends("`io_loop.stop()`", "get_ipython().kernel.io_loop.stop()", "the cell stopped the kernel's event loop"),
    ends("`get_event_loop().stop()`", "asyncio.get_event_loop().stop()", "the cell stopped the kernel's event loop"),
    proved(
        "death between two cells",
        "test_kernel_death.py::test_a_death_between_cells_is_reported_by_the_next",
        "the next result tells it first, with what was printed until then",
        FRESH,
    ),
]
MEMORY = [
    fails("one object larger than the memory", f"{LITTLE_MEMORY}\nhoard = bytearray(1 << 30)", "MemoryError"),
    fails(
        "many small objects, until the memory is full",
        f"{LITTLE_MEMORY}\nhoard = []\nwhile True: hoard.append(str(len(hoard)) * 100)",
        "hoard.append…MemoryError",
    ),
    proved(
        "memory full again and again",
        "test_kernel_death.py::test_a_kernel_without_memory_for_its_own_work_ends",
        "a MemoryError while there is memory to say so, then the death of the kernel; never silence",
        FRESH,
    ),
]
HANGS = [
    stops("`time.sleep`", "import time\ntime.sleep(60)"),
    stops("an endless loop", "while True: pass"),
    stops("an endless loop that prints", "while True: print('y')"),
    stops("an endless regular expression", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')"),
    stops("a wait in C", "import ctypes\nctypes.PyDLL(None).sleep(60)"),
    stops("`await`", "await asyncio.sleep(60)"),
    stops("`await` of several", "await asyncio.gather(*[asyncio.sleep(60) for _ in range(3)])"),
    stops("an endless loop after `await`", "await asyncio.sleep(0)\nwhile True: pass"),
    stops("`time.sleep` after `await`", "import time\nawait asyncio.sleep(0)\ntime.sleep(60)"),
    stops("a command after `await`", "await asyncio.sleep(0)\n!sleep 60"),
    stops("`asyncio.run`", "asyncio.run(asyncio.sleep(60))"),
    stops("a new event loop", "asyncio.new_event_loop().run_until_complete(asyncio.sleep(60))"),
    stops("a lock that nobody opens", "import threading\nthreading.Event().wait()"),
    stops("an empty queue", "import queue\nqueue.Queue().get()"),
    stops("a `__repr__`", "class Slow:\n    def __repr__(self):\n        while True: pass\nSlow()"),
    stops(
        "a `__repr__` after `await`",
        "class Slow:\n    def __repr__(self):\n        while True: pass\nawait asyncio.sleep(0)\nSlow()",
    ),
    stops(
        "the text of an exception",
        "class Slow(Exception):\n    def __str__(self):\n        while True: pass\nraise Slow",
    ),
    stops("`!command`", "!sleep 60"),
    stops("`x = !command`", "x = !sleep 60"),
    stops("a program that has printed", "!python3 -c \"import time; print('before'); time.sleep(60)\""),
    stops("`!command` that traps INT", "!trap '' INT; echo before; sleep 60"),
    stops("`%%bash` that traps INT", "%%bash\ntrap '' INT\necho before\nsleep 60"),
    stops(
        "`subprocess.run` of one that traps INT",
        "import subprocess\nsubprocess.run(\"trap '' INT; echo before; sleep 60\", shell=True)",
    ),
    stops(
        "the interrupt caught once",
        "import time\ntry:\n    print('before')\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    time.sleep(60)",
    ),
    deaf(
        "the interrupt ignored",
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('before')\ntime.sleep(60)",
    ),
    deaf(
        "a wait in C with SIGINT masked",
        "import ctypes, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "print('before', flush=True)\nctypes.PyDLL(None).sleep(60)",
    ),
    deaf(
        "an endless loop in C",
        "import itertools\nforever = itertools.repeat(1)\nprint('before', flush=True)\nmax(forever)",
    ),
]

QUESTIONS = [
    fails(
        "`input()`",
        "input('name? ')",
        "input() cannot work here: nobody can answer. Put the value in the code.",
    ),
    fails("`input()` in a thread", "await asyncio.to_thread(input)", "input() cannot work here"),
    fails("`getpass`", "import getpass\ngetpass.getpass()", "getpass() cannot work here: nobody can answer."),
    fails("`breakpoint()`", "breakpoint()", "breakpoint() cannot work here: nobody can type into a debugger."),
    fails("`pdb.set_trace()`", "import pdb\npdb.set_trace()", "input() cannot work here"),
    fails("`pdb.run()`", "import pdb\npdb.run('1 / 0')", "input() cannot work here"),
    fails("`%debug`", "get_ipython().run_cell('1 / 0')\n%debug", "input() cannot work here"),
    fails("`code.interact()`", "import code\ncode.interact()", "input() cannot work here"),
    passes("`sys.stdin.read()`", "import sys\nsys.stdin.read()", "''"),
    passes("a command that reads", "!cat; read answer", "[exit code: 1]"),
    passes(
        "a program that asks for a password",
        "!python3 -c 'import getpass; getpass.getpass()'",
        "EOFError\n[exit code: 1]",
    ),
    passes(
        "an editor (`git commit`, `crontab -e`)",
        "!printf '[core]\\neditor = vim\\n' >mine; GIT_CONFIG_GLOBAL=mine git config --global --edit",
        "No editor is available: this program runs without a user.",
    ),
    passes("vim itself", "!vim --not-a-term somefile", "[exit code: 1]"),
    passes("a program that opens the terminal", "!echo question >/dev/tty", "No such device or address"),
]
TAMPERING = [
    passes("`sys.stdout` closed", "import sys\nsys.stdout.close()\nprint('after')", AFTER),
    passes("`sys.stdout` replaced", "import io, sys\nsys.stdout = io.StringIO()\n'value'", "'value'"),
    fails(
        "`sys.stdout` and `sys.stderr` set to None",
        "import sys\nsys.stdout = sys.stderr = None\n1 / 0",
        "ZeroDivisionError",
    ),
    fails(
        "something else in their place", "import sys\nsys.stdout = sys.stderr = object()\n1 / 0", "ZeroDivisionError"
    ),
    passes("a value after that", "import sys\nsys.stdout = sys.stderr = object()\n'value'", "'value'"),
    passes(
        "their buffers closed",
        "import sys\nsys.stdout.buffer.close(); sys.stderr.buffer.close()\nprint('after')",
        AFTER,
    ),
    passes("descriptors 1 and 2 closed", "import os\nos.close(1); os.close(2)\nprint('after')", AFTER),
    passes(
        "descriptor 1 redirected", "import os\nos.dup2(os.open('/dev/null', os.O_WRONLY), 1)\nprint('after')", AFTER
    ),
    fails(
        "`sys.displayhook` set to None", "import sys\nsys.displayhook = None\n1", "'NoneType' object is not callable"
    ),
    KernelFault("`%reset -f`", "%reset -f\nprint('after')", LIVES, AFTER, kept=False, ok=True),
    KernelFault("`get_ipython().reset()`", "get_ipython().reset()\nprint('after')", LIVES, AFTER, kept=False, ok=True),
    passes("the environment cleared", "import os\nos.environ.clear()\nprint('after')", AFTER),
    passes("the handler of SIGINT replaced", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL);"),
    fails("`sys.exit()`", "import sys\nsys.exit(3)", "SystemExit: 3"),
    fails("`raise KeyboardInterrupt`", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    fails("an exception of no kind", "raise BaseException('odd')", "BaseException: odd"),
    fails("endless recursion", "def again(): again()\nagain()", "RecursionError"),
    passes("a low recursion limit", "import sys\nsys.setrecursionlimit(100)"),
]
CHILDREN = [
    passes(
        "`os.fork`, both go on",
        "import os\nchild = os.fork()\nif child: os.waitpid(child, 0)\nprint('parent' if child else 'child')",
        "child…parent",  # since Python 3.12 a warning of the parent, which has threads, may come between
    ),
    passes(
        "`os.fork`, the child fails",
        "import os\nchild = os.fork()\nif child: os.waitpid(child, 0)\nelse: 1 / 0",
    ),
    passes(
        "`os.fork`, the child calls `exit()`",
        "import os\nchild = os.fork()\nif child: os.waitpid(child, 0)\nelse: exit()",
    ),
    passes(
        "`os.fork` after `await`",
        "import os\nawait asyncio.sleep(0)\nchild = os.fork()\nif child: os.waitpid(child, 0)",
    ),
    passes(
        "`os.fork`, the child stays",
        "import os, time\nif os.fork() == 0: time.sleep(60)\nprint('parent')",
        "parent",
    ),
    passes(
        "a pool of processes",
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool: print(pool.map(abs, [-1]))",
        "[1]",
    ),
    passes("`%%bash` that leaves a child", "%%bash\nsleep 60 &\necho before; echo started", "started"),
    passes("`!command` that leaves a child", "!sleep 60 & echo started", "started"),
    passes("`x = !command` that leaves a child", "x = !sleep 60 & echo started\nx", "['started']"),
    passes(
        "`Popen` of one that daemonises",
        "import subprocess\ndemon = subprocess.Popen(['setsid', 'sleep', '60'])",
    ),
]
OUTPUT = [
    proved(
        "threads and tasks that print later",
        "test_kernel_output.py::test_output_between_cells_comes_before_the_next_result",
        "it comes before the next result, as output since the last cell",
    ),
    proved(
        "a thread that prints for ever",
        "test_kernel_host.py::test_a_thread_that_prints_for_ever_between_cells_costs_no_memory",
        "the same; the host stays small",
    ),
    proved(
        "20,000 flushed lines while the host is stalled",
        "test_kernel_host.py::test_a_stalled_host_loses_nothing",
        "all of them",
    ),
    proved(
        "300 MB of output",
        "test_kernel_host.py::test_hundreds_of_megabytes_cost_the_host_less_than_sixty",
        "head and tail, and where the whole is; the host grows by less than 60 MB",
    ),
    proved(
        "an exception, a value or a print of 5 MB",
        "test_kernel_output.py::test_five_megabytes_arrive_whole",
        "all of it, as far as `RLM_MAX_OUTPUT` allows",
    ),
    proved(
        "binary output",
        "test_kernel_output.py::test_binary_output_does_no_harm",
        "what is text in it, and � for the rest",
    ),
    proved(
        "lone surrogates and NUL in code",
        "test_kernel_output.py::test_code_with_odd_characters_is_an_error_that_can_be_read",
        "the error of Python's compiler",
    ),
    proved(
        "a picture of 50 MB",
        "test_kernel_output.py::test_a_picture_of_fifty_megabytes_is_saved_too",
        "the path of its file",
    ),
    passes(
        "a picture of 110 MB",
        "from IPython.display import Image\nImage(bytes(110_000_000), format='png')",
        "[not shown: 146,66… bytes are too many for a display; write them to a file]",
    ),
]
GROUPS = {
    "It dies": DEATHS,
    "It runs out of memory, under a limit": MEMORY,
    "It hangs, and its time is over": HANGS,
    "It asks somebody": QUESTIONS,
    "It tampers with the kernel": TAMPERING,
    "It starts processes": CHILDREN,
    "It prints and shows": OUTPUT,
}

KERNEL_FAULTS = [fault for group in GROUPS.values() for fault in group]
