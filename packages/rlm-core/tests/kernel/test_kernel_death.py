"""More about dead kernels. How a kernel can die, and what is reported then, is tested in test_kernel_faults.py."""

from __future__ import annotations

import asyncio

import pytest
from rlm_testkit.kernel_bench import OpenKernel
from rlm_testkit.kernel_faults import LITTLE_MEMORY

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_quit_without_a_call_ends_it_too(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert (await bench.run("quit")).startswith("[the cell called exit(), so the kernel ended.")


async def test_a_death_between_cells_is_reported_by_the_next(open_kernel: OpenKernel) -> None:
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
        output = await bench.run("print('now')")
        assert output.startswith(
            "[output since the last cell]\ngoodbye\n[the kernel died after the last cell: its process ex"
        )
        assert output.endswith("Lost: leave, os, precious, threading, time.]\n[this cell]\nnow\n")
        assert await bench.run("print('then')") == "then\n"


async def test_a_kernel_without_memory_for_its_own_work_ends(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run(f"{LITTLE_MEMORY}\nhoard = []")
        reported = []
        while not bench.restarts:
            reported.append(await bench.run("while True: hoard.append([0] * 10)", 600))
        assert "MemoryError" in reported[0], "the memory reserve makes the first failure a MemoryError"
        assert all("MemoryError" in text or "[the kernel died: " in text for text in reported)
        assert reported[-1].endswith("A fresh kernel is ready. Lost: hoard, resource.]")


async def test_a_kernel_that_cannot_read_a_request_ends(open_kernel: OpenKernel) -> None:
    """Without memory for it, ipykernel drops a request, and writes this only to its log."""
    async with open_kernel() as bench:
        await bench.run("def full(*_, **__): raise MemoryError\nget_ipython().kernel.session.deserialize = full")
        assert await bench.run("1", 600) == (
            "[the kernel died: it was killed by SIGKILL, as the system does when memory runs out. "
            "A fresh kernel is ready. Lost: full.]"
        )


async def test_a_kernel_without_descriptors_ends_at_once(open_kernel: OpenKernel) -> None:
    """Its event loop fails while a thread still waits for a loop of its own."""
    async with open_kernel() as bench:
        await bench.run("precious = 42\nimport os")
        output = await bench.run("os.closerange(3, 1_000)", 600)
        assert "[the kernel died: " in output
        assert output.endswith("A fresh kernel is ready. Lost: os, precious.]")


async def test_the_names_of_an_interrupted_cell_are_known(open_kernel: OpenKernel) -> None:
    """Also if the interrupt came after the cell's code, while its error was being reported."""
    async with open_kernel() as bench:
        code = "class Slow(Exception):\n    def __str__(self):\n        while True: pass\nprint('ready')\nraise Slow"
        assert "interrupted" in (await bench.overrun(code)).text
        assert (await bench.run("import os; os._exit(1)")).endswith("Lost: Slow.]")


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
        assert await bench.run(TOO_MUCH) == (
            "[the kernel died: it closed its connection, or it sent a message of more than 256 MiB or 1,000 parts, and was killed. "
            "A fresh kernel is ready. Lost: precious.]"
        )
        assert await bench.run("'precious' in globals()") == "False\n"


async def test_names_that_were_never_defined_are_not_reported_as_lost(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        output = await bench.run("import os; os._exit(1)")
        assert output.endswith("A fresh kernel is ready. Nothing was defined.]")


async def test_a_hundred_lost_names_are_counted(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run("for n in range(100): globals()[f'name{n:03}'] = n")
        output = await bench.run("import os; os._exit(1)")
        assert "Lost: n, name000, name001," in output
        assert output.endswith(" and 61 more.]")
        assert len(bench.restarts[0].lost) == 101


async def test_a_death_in_internal_code_is_reported_with_its_output(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run("precious = 1")
        reported = await bench.kernel.execute_internal("import os; print('its last words'); os._exit(9)", 60)
        assert reported == (
            "its last words\n[the kernel died: its process exited with code 9. A fresh kernel is ready. Lost: precious.]"
        )
        assert await bench.run("print('goes on')") == "goes on\n"
