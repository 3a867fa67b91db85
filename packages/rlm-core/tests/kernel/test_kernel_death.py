"""What else is told of a kernel that died. How it may die, and how that is told, is in test_kernel_faults.py."""

from __future__ import annotations

import asyncio

import pytest
from kernel_bench import OpenKernel
from kernel_faults import LITTLE_MEMORY

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_quit_without_a_call_ends_it_too(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert (await bench.run("quit")).startswith("[the cell called exit(), so the kernel ended.")


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


async def test_a_kernel_without_memory_for_its_own_work_ends(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run(f"{LITTLE_MEMORY}\nhoard = []")
        told = []
        while not bench.restarts:
            told.append(await bench.run("while True: hoard.append(str(len(hoard)) * 100)", 600))
        assert "MemoryError" in told[0], "there is a reserve, once"
        assert all("MemoryError" in text or "[the kernel died: " in text for text in told)
        assert told[-1].endswith("A fresh kernel is ready. Lost: hoard, resource.]")


TOO_MUCH = """\
session = get_ipython().kernel.session
send = session.send
def send_too_much(stream, kind, *args, **options):
    if kind == 'execute_reply': stream.send_multipart([*options['ident'], bytes((256 << 20) + 1)])
    return send(stream, kind, *args, **options)
session.send = send_too_much"""


async def test_a_kernel_that_the_host_hung_up_on_is_replaced(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run("precious = 42")
        assert await bench.run(TOO_MUCH) == "[the kernel did not say how the cell ended]"
        assert await bench.run("precious") == (
            "[the kernel was killed: it no longer listens. A fresh kernel is ready. Lost: precious.]"
        )
        assert await bench.run("'precious' in globals()") == "False\n"


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
