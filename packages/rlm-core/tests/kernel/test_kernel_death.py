"""A kernel that dies is told of at once, with the reason; a fresh one is ready, and no cell runs twice."""

from __future__ import annotations

import asyncio
import time

import pytest
from kernel_bench import OpenKernel

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRESH = "A fresh kernel is ready. Lost: os, precious.]"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("os._exit(3)", "[the kernel died: its process exited with code 3."),
        ("os._exit(0)", "[the kernel died: its process exited with code 0."),
        (
            "os.kill(os.getpid(), 9)",
            "[the kernel died: it was killed by SIGKILL, as the system does when memory runs out.",
        ),
        ("os.kill(os.getpid(), 15)", "[the kernel died: it was ended by SIGTERM."),
        ("os.kill(os.getpid(), 10)", "[the kernel died: it was killed by signal 10."),
        ("os.abort()", "[the kernel died: it aborted with SIGABRT."),
        ("import ctypes; ctypes.string_at(0)", "[the kernel died: it crashed with SIGSEGV, an invalid memory access."),
        ("os.kill(os.getppid(), 9); import time; time.sleep(60)", "[the kernel died: it was killed"),
        (
            "import threading, time; threading.Timer(0.1, os._exit, [4]).start(); time.sleep(60)",
            "[the kernel died: its",
        ),
        ("await __import__('asyncio').sleep(0); os._exit(5)", "[the kernel died: its process exited with code 5."),
        ("exit()", "[the cell called exit(), so the kernel ended."),
        ("get_ipython().kernel.do_shutdown(False);", "[the cell shut the kernel down, so the kernel ended."),
        ("get_ipython().kernel.io_loop.stop()", "[the cell stopped the kernel's event loop, so the kernel ended."),
        ("import asyncio; asyncio.get_event_loop().stop()", "[the cell stopped the kernel's event loop, so the kernel"),
    ],
)
async def test_a_death_is_told_with_its_reason(open_kernel: OpenKernel, code: str, why: str) -> None:
    async with open_kernel() as bench:
        await bench.run("import os\nprecious = 1")
        result = await bench.execute(f"print('before'); open('ran', 'a').write('x');\n{code}")
        assert result.text.startswith("before\n")
        assert why in result.text
        assert result.text.endswith(FRESH)
        assert not result.ok
        assert await bench.run("'precious' in globals()") == "False\n"
        assert await bench.run("print(open('ran').read()); import os; os.remove('ran')") == "x\n"
        (restart,) = bench.restarts
        assert restart.lost == ("os", "precious")
        assert "\n" not in restart.why


async def test_quit_without_a_call_ends_it_too(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert (await bench.run("quit")).startswith("[the cell called exit(), so the kernel ended.")


async def test_death_is_told_at_once(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run("import os")
        begin = time.monotonic()
        await bench.run("os._exit(1)", timeout=60)
        assert time.monotonic() - begin < 30  # and not at the timeout; how fast it is, the benchmark tells


async def test_a_death_between_cells_is_told_by_the_next(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert bench.spec
        await bench.run("import os, threading, time\nprecious = 1")
        code = (
            "def leave():\n    while not os.path.exists('leave'): time.sleep(0.01)\n"
            "    print('goodbye')\n    os._exit(7)\nthreading.Thread(target=leave).start()"
        )
        await bench.run(code)
        (bench.spec.cwd / "leave").touch()
        while not bench.restarts:
            await asyncio.sleep(0.01)
        seen = await bench.run("print('now')")
        assert seen.startswith(
            "[output since the last cell]\ngoodbye\n[the kernel died after the last cell: its process ex"
        )
        assert seen.endswith("Lost: leave, os, precious, threading, time.]\n[this cell]\nnow\n")
        assert await bench.run("print('then')") == "then\n"


async def test_where_it_crashed_is_told(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        seen = await bench.run("import ctypes\ndef culprit():\n    ctypes.string_at(0)\nculprit()")
        assert "Fatal Python error: Segmentation fault" in seen
        assert "in culprit" in seen
        assert "interactiveshell" not in seen


async def test_out_of_memory_is_an_error_or_a_death_but_never_silence(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))"
        await bench.run(limit)
        result = await bench.execute("x = bytearray(3 << 30)")
        assert "MemoryError" in result.text
        assert not result.ok
        assert await bench.run("1") == "1\n"


async def test_names_that_never_were_are_not_lost(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        seen = await bench.run("import os; os._exit(1)")
        assert seen.endswith("A fresh kernel is ready. Nothing was defined.]")


async def test_a_hundred_lost_names_are_counted(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run("for n in range(100): globals()[f'name{n:03}'] = n")
        seen = await bench.run("import os; os._exit(1)")
        assert "Lost: n, name000, name001," in seen
        assert seen.endswith(" and 61 more.]")
        assert len(bench.restarts[0].lost) == 101
