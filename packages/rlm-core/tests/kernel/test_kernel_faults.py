"""Each fault in packages/rlm-testkit/src/rlm_testkit/kernel_faults.py, caused in a real kernel."""

from __future__ import annotations

import os
import re

import psutil
import pytest
from rlm.core.ports import Execution
from rlm_testkit.kernel_bench import KernelBench, OpenKernel
from rlm_testkit.kernel_faults import FRESH, KERNEL_FAULTS, KernelFault
from rlm_testkit.leftovers import is_alive
from rlm_testkit.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = 600.0  # seconds, longer than the suite's time limit for a test, so no reported fault is a timeout
AFTERWARDS = """\
import os, sys
print('out'); print('err', file=sys.stderr); os.system('echo C')
print(globals().get('precious'))"""


@pytest.mark.parametrize("sandboxed", [False, True], ids=["bare", "sandboxed"])
@pytest.mark.parametrize("fault", [fault for fault in KERNEL_FAULTS if fault.code], ids=lambda fault: fault.name)
async def test_a_fault_ends_as_the_table_says(open_kernel: OpenKernel, fault: KernelFault, sandboxed: bool) -> None:
    processes_before = live_processes()
    expected_processes = (
        6 if sandboxed else 1
    )  # the kernel; in a sandbox also its stand-in outside, bwrap's three processes, and the shell that watches them
    async with open_kernel(sandboxed=sandboxed) as bench:
        await bench.run("precious = 42", LONG)
        result = await (bench.overrun(fault.cell) if fault.hangs else bench.execute(fault.cell, LONG))
        check(fault, result, bench)
        output = await bench.run(AFTERWARDS, LONG)
        found = re.search(r"(?:\A|\n)out\nerr\nC\n(\w+)\n\Z", output)
        assert found, output
        assert found[1] == ("42" if fault.kept else "None")
        assert "before" not in output, "the cell must run only once"
        if fault.hangs or fault.kernel == FRESH:
            await eventually(lambda: len(live_processes() - processes_before) == expected_processes)
    await eventually(lambda: live_processes() <= processes_before)


def check(fault: KernelFault, result: Execution, bench: KernelBench) -> None:
    assert result.text.startswith("before\n")
    assert as_reported(fault.reads).search(result.text), result.text
    assert result.ok == fault.ok
    if fault.kernel == FRESH:
        assert result.text.endswith("A fresh kernel is ready. Lost: precious.]")
        (restart,) = bench.restarts
        assert restart.lost == ("precious",)
        assert "\n" not in restart.why
    else:
        assert not bench.restarts


def as_reported(reads: str) -> re.Pattern[str]:
    return re.compile(re.escape(reads).replace("…", ".*"), re.DOTALL)


def live_processes() -> set[int]:
    """Live processes that descend from this process. The zygote is left out, because there is always one."""
    below = psutil.Process().children(recursive=True)
    return {process.pid for process in below if is_alive(process.pid) and not is_zygote(process)}


def is_zygote(process: psutil.Process) -> bool:
    """A zygote's kernels are forks, and have the same name."""
    try:
        return process.ppid() == os.getpid() and "rlm.inside.zygote" in process.cmdline()
    except psutil.NoSuchProcess:
        return False
