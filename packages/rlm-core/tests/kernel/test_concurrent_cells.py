"""Cells of the user while a cell of the agent awaits: both run at the same time, and do not affect each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rlm.core.events import Event, OutputReceived
from rlm.core.ports import Execution
from rlm.kernel import JupyterKernel
from rlm_testkit.kernel_bench import KernelBench, OpenKernel
from rlm_testkit.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITING = """
import asyncio, contextlib, io, sys
go = asyncio.Event()
print('the agent begins')
await go.wait()
print('the agent ends')
'agent', get_ipython().execution_count
"""


class Person:
    """A user who runs cells in a kernel and receives their output."""

    def __init__(self, bench: KernelBench) -> None:
        assert isinstance(bench.kernel, JupyterKernel)
        self.kernel = bench.kernel
        self.output = ""

    def receive(self, event: Event) -> None:
        assert isinstance(event, OutputReceived)
        self.output += event.text

    async def run(self, code: str) -> Execution:
        return await self.kernel.execute_for_user(code, self.receive)

    async def text(self, code: str) -> str:
        return (await self.run(code)).text.strip()

    async def interrupted(self, code: str) -> str:
        """Start a cell, interrupt it as soon as it prints, and return its output."""
        self.output = ""
        cell = asyncio.create_task(self.run(code))
        await eventually(lambda: "here" in self.output and self.kernel.runs_beside)
        cell.cancel()
        await asyncio.wait({cell})
        return self.output


@asynccontextmanager
async def waiting(bench: KernelBench, code: str = WAITING) -> AsyncIterator[tuple[Person, asyncio.Task[Execution]]]:
    """A cell of the agent that waits until the user runs `go.set()`."""
    cell = await bench.begin(code)
    yield Person(bench), cell
    assert not cell.done(), "no action of the user may end it"
    await Person(bench).run("go.set()")
    await cell


async def test_each_cell_gets_its_own_output_and_value(shared: KernelBench) -> None:
    async with waiting(shared) as (person, agent):
        assert await person.text("x = 1\nx + 1") == "2"
        assert await person.text("!echo shell; false") == "shell\n[exit code: 1]"
        assert await person.text("asyncio.run(asyncio.sleep(0, 'its own loop'))") == "'its own loop'"
        failed = await person.run("print('so far')\n1/0")
        assert not failed.ok
        assert failed.text.startswith("so far")
        assert "ZeroDivisionError" in failed.text
        tasks = "async def say(n):\n    await asyncio.sleep(0)\n    print(n)\nawait asyncio.gather(say(1), say(2))"
        assert (await person.text(tasks)).split("\n")[:2] == ["1", "2"], "the output of its tasks belongs to it"
        assert await person.text("len(") != "", "a syntax error"
        for ending in ("exit()", "asyncio.get_running_loop().stop()\nawait asyncio.sleep(0)"):
            assert "Refused: a cell of the agent still runs" in await person.text(ending)
        assert await person.text("x") == "1", "the refused code must not run"
    assert agent.result().text.split("\n")[:2] == ["the agent begins", "the agent ends"]
    assert "2" not in agent.result().text.split("agent'")[0]


async def test_cell_numbers_continue_and_each_cell_keeps_its_own(shared: KernelBench) -> None:
    before = int(await shared.run("get_ipython().execution_count"))
    async with waiting(shared) as (person, agent):
        await person.run("'mine'")
    assert "('agent', " in agent.result().text
    assert await shared.run(f"Out[{before}][0], Out[{before + 1}]") == "('agent', 'mine')\n"
    assert person.kernel.cells == before + 3, "the user's `go.set()` and this cell are two more"


async def test_an_interrupt_is_for_the_users_cell_as_long_as_it_runs(shared: KernelBench) -> None:
    async with waiting(shared) as (person, agent):
        for code in ("while True: pass", "import time\ntime.sleep(1e6)", "await asyncio.sleep(1e6)", "!sleep 1000000"):
            await person.interrupted(f"print('here')\n{code}")
            assert await person.text("'alive'") == "'alive'", code
    assert agent.result().ok


async def test_when_the_agents_cell_is_cancelled_both_end_and_the_kernel_is_kept(open_kernel: OpenKernel) -> None:
    """Both cells have been sent while the kernel was starting."""
    async with open_kernel() as bench:
        cell = asyncio.create_task(bench.execute("import asyncio\nprint('x')\nawait asyncio.sleep(1e6)"))
        await asyncio.sleep(0)
        person = Person(bench)
        user_cell = asyncio.create_task(person.run("print('here')\nawait asyncio.sleep(1e6)"))
        await eventually(lambda: "here" in person.output)
        cell.cancel()  # as when the run is cancelled
        await asyncio.wait({cell, user_cell})
        assert not user_cell.result().ok
        assert await bench.run("'alive'") == "'alive'\n"
        assert not bench.restarts


async def test_settings_of_one_cell_do_not_affect_the_other(shared: KernelBench) -> None:
    captured = "import io, contextlib, asyncio\ngo = asyncio.Event()\nprint('begins')\nheld = io.StringIO()\n"
    captured += "with contextlib.redirect_stdout(held):\n    await go.wait()\n    print('kept')\nheld.getvalue()"
    async with waiting(shared, captured) as (person, agent):
        assert await person.text("print('not into the agent\\'s buffer')") == "not into the agent's buffer"
        user_cell = (
            "with contextlib.redirect_stdout(io.StringIO()) as mine:\n    await asyncio.sleep(0.01)\n    print('in')\n"
        )
        assert await person.text(f"{user_cell}mine.getvalue()") == "'in\\n'"
    assert agent.result().text.split("\n")[1] == "'kept\\n'"
    assert agent.result().exit_status == 0


async def test_the_users_cell_waits_for_a_computing_cell_and_can_be_withdrawn(shared: KernelBench) -> None:
    cell = await shared.begin("import time\nprint('begins')\nwhile 'stop' not in globals(): time.sleep(0.01)")
    person = Person(shared)
    withdrawn, user_cell = (asyncio.create_task(person.run(code)) for code in ("gone = 1", "2 + 2"))
    await asyncio.sleep(0)
    withdrawn.cancel()
    await asyncio.wait({withdrawn})
    assert withdrawn.cancelled()
    assert not user_cell.done()
    person.kernel.interrupt()
    await cell
    assert (await user_cell).text == "4\n"
    assert await shared.run("'gone' in globals()") == "False\n"


async def test_the_death_of_the_kernel_is_reported_to_both(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        cell = await bench.begin(WAITING)
        user_cell = await Person(bench).run("import os\nos._exit(7)")
        assert "the kernel died" in user_cell.text
        assert "the kernel died" in (await cell).text
        assert await bench.run("1 + 1") == "2\n"
