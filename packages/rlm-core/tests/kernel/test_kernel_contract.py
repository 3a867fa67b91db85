"""The contract of a kernel, on which other code relies. The fake must obey it too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from rlm.core.events import Event
from rlm_testkit.kernel_bench import FakeKernel, KernelBench, OpenKernel
from rlm_testkit.waiting import TIMEOUT

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fake", "real", "sandboxed"])
async def bench(request: pytest.FixtureRequest, open_kernel: OpenKernel) -> AsyncIterator[KernelBench]:
    if request.param == "fake":
        events: list[Event] = []
        yield KernelBench(FakeKernel(events.append), events=events)
        return
    async with open_kernel(sandboxed=request.param == "sandboxed") as bench:
        yield bench


async def test_names_stay_from_cell_to_cell(bench: KernelBench) -> None:
    await bench.run("kept = 6")
    assert await bench.run("kept * 7") == "42\n"


async def test_prints_and_the_last_value_are_the_text(bench: KernelBench) -> None:
    assert await bench.run("print('a')\nprint('b')\n'c'") == "a\nb\n'c'\n"


async def test_stderr_is_part_of_it(bench: KernelBench) -> None:
    assert await bench.run("import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')") == "a\nb\nc\n"


async def test_a_cell_that_prints_nothing_says_so(bench: KernelBench) -> None:
    assert await bench.run("quiet = 1") == "[no output]"


async def test_an_error_is_reported_and_is_not_ok(bench: KernelBench) -> None:
    result = await bench.execute("print('before')\n1/0")
    assert not result.ok
    assert result.text.startswith("before\n")
    assert result.text.endswith("ZeroDivisionError: division by zero\n")


async def test_a_syntax_error_is_an_error_like_any_other(bench: KernelBench) -> None:
    result = await bench.execute("1 +")
    assert not result.ok
    assert "SyntaxError" in result.text


async def test_the_cell_after_an_error_runs(bench: KernelBench) -> None:
    assert (await bench.execute("1/0")).ok is False
    assert (await bench.execute("1")).ok is True


async def test_a_restart_discards_the_variables_and_is_an_event(bench: KernelBench) -> None:
    await bench.run("doomed = 1")
    await bench.kernel.restart("asked to")
    assert "NameError" in await bench.run("doomed")
    assert bench.restarts[-1].why == "asked to"
    assert "doomed" in bench.restarts[-1].lost


async def test_waiting_can_be_nested(bench: KernelBench) -> None:
    with bench.kernel.waiting(), bench.kernel.waiting():
        assert await bench.run("1", 5) == "1\n"


async def test_output_of_internal_code_comes_before_the_next_result(bench: KernelBench) -> None:
    assert await bench.kernel.execute_internal("print('meanwhile'); of_ours = 1", TIMEOUT) == ""
    assert await bench.run("print(of_ours)") == "[output since the last cell]\nmeanwhile\n[this cell]\n1\n"
    assert await bench.kernel.execute_internal("of_ours = 2", TIMEOUT) == ""
    assert await bench.run("print(of_ours)") == "2\n"
