"""A cell that takes too long is interrupted. Its kernel is killed only if it ignores the interrupt."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rlm.core.events import Event, KernelRestarted
from rlm.kernel import JupyterKernel, KernelServer, KernelSpec
from rlm_testkit.kernel_bench import KernelBench, OpenKernel

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = "interrupted; the kernel and its variables are kept]"


async def test_an_interrupted_command_can_still_print(shared: KernelBench) -> None:
    result = (await shared.overrun("!trap 'echo last words; exit 3' INT; echo ready; sleep 60 & wait")).text
    assert result.startswith("ready\nlast words\n")


async def test_processes_of_an_interrupted_cell_are_killed_and_others_are_not(shared: KernelBench) -> None:
    await shared.run("import subprocess\nearlier = subprocess.Popen(['sleep', '61'])")
    await asyncio.sleep(0.05)  # start times of processes have a resolution of 10 ms
    code = "late = subprocess.Popen(['setsid', 'sleep', '62'])\nprint('started')\nimport time; time.sleep(60)"
    assert (await shared.overrun(code)).text.startswith("started\n")
    assert await shared.run("late.wait()") == "-9\n"
    assert await shared.run("earlier.poll() is None") == "True\n"


async def test_a_cell_that_prints_faster_than_the_host_reads_is_interrupted_like_any_other(
    spec: KernelSpec, zygote: KernelServer, tmp_path: Path
) -> None:
    """Reading all of its output takes seconds longer than the cell itself."""
    reported: list[Event] = []

    def slow(event: Event) -> None:
        reported.append(event)
        time.sleep(0.05)

    own_spec = replace(spec, run_dir=spec.run_dir / "slow", outputs=tmp_path, max_output=1_000)
    own_spec.run_dir.mkdir(mode=0o700)
    async with JupyterKernel(own_spec, slow, zygote) as kernel:
        await kernel.execute("precious = 42", 30)
        result = await kernel.execute("while True: print('y' * 1_000)", 0.5)
        assert result.text.endswith(KEPT)
        assert (await kernel.execute("precious", 30)).text == "42\n"
    assert not [event for event in reported if isinstance(event, KernelRestarted)]


async def test_waiting_stops_the_clock(shared: KernelBench) -> None:
    with shared.kernel.waiting():
        cell = asyncio.create_task(shared.run("import time\ntime.sleep(1.5)\n'done'", timeout=1))
        with shared.kernel.waiting():
            await asyncio.sleep(0.5)
        assert await cell == "'done'\n"


async def test_the_clock_goes_on_after_waiting(shared: KernelBench) -> None:
    with shared.kernel.waiting():
        cell = asyncio.create_task(shared.run("import time\ntime.sleep(60)", timeout=0.5))
        await asyncio.sleep(0.6)
        assert not cell.done()
    assert (await cell).endswith(KEPT)


async def test_a_cell_that_is_cancelled_before_it_has_begun_costs_nothing(shared: KernelBench) -> None:
    """A task of an earlier cell blocks the kernel, so that the cell cannot begin."""
    assert shared.spec
    restarts = len(shared.restarts)
    code = (
        "precious = 42\nimport asyncio, os, time\nasync def busy():\n"
        "    while not os.path.exists('begin'): time.sleep(0.01)\n"
        "task = asyncio.create_task(busy())"
    )
    await shared.run(code)
    cell = asyncio.create_task(shared.run("time.sleep(60)"))
    await asyncio.sleep(0.1)
    cell.cancel()
    await asyncio.sleep(0.2)
    (shared.spec.cwd / "begin").touch()
    with pytest.raises(asyncio.CancelledError):
        await cell
    assert await shared.run("precious") == "42\n"
    assert len(shared.restarts) == restarts


async def test_an_interrupt_between_the_start_message_of_a_cell_and_its_code_takes_effect(shared: KernelBench) -> None:
    code = (
        "import os, signal\nkernel = get_ipython().kernel\n"
        "async def interrupted_here(*_):\n"
        "    del kernel.should_handle\n    os.kill(os.getpid(), signal.SIGINT)\n    return True\n"
        "kernel.should_handle = interrupted_here"
    )
    await shared.run(code)
    await shared.run("ran = True")
    assert await shared.run("'ran' in globals()") == "False\n"


@pytest.mark.parametrize(
    "code",
    [
        "import time\nprint('begun')\ntime.sleep(60)",
        "import asyncio\nprint('begun')\nawait asyncio.sleep(60)",
        "!trap '' INT; echo begun; sleep 60",
    ],
)
async def test_cancelling_interrupts_the_cell_and_keeps_the_kernel(shared: KernelBench, code: str) -> None:
    restarts = len(shared.restarts)
    await shared.run("precious = 42")
    cell = await shared.begin(code)
    cell.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cell
    assert await shared.run("precious") == "42\n"
    assert len(shared.restarts) == restarts


async def test_cancelling_a_cell_that_ignores_interrupts_kills_the_kernel(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run("import signal, time\nprecious = 1")
        cell = await bench.begin("signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf')\ntime.sleep(60)")
        cell.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cell
        assert bench.restarts[0].lost == ("precious", "signal", "time")
        assert "NameError" in await bench.run("precious")


async def test_a_second_cancellation_skips_the_grace_periods(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        await bench.run("import signal, time")
        cell = await bench.begin("signal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf')\ntime.sleep(60)")
        for _ in range(2):
            cell.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await cell
        assert await bench.run("1") == "1\n"
