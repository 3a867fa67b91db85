"""Questions to a kernel beside its cells. A hostile kernel may answer anything."""

from __future__ import annotations

import asyncio

import pytest
from rlm.kernel import JupyterKernel
from rlm.kernel.render import LONGEST, Completion, completion_of, value_of
from rlm_testkit.kernel_bench import KernelBench, OpenKernel

SOME = "class Frame:\n    columns = ['a', 'b']\nframe = Frame()\nframes = 3\n"


@pytest.mark.asyncio(loop_scope="module")
async def test_names_attributes_and_values_of_a_live_kernel(shared: KernelBench) -> None:
    await shared.run(SOME)
    kernel = shared.kernel
    assert isinstance(kernel, JupyterKernel)
    assert {"frame", "frames", "Frame"} <= set(kernel.names)
    assert {"frame", "frames"} <= set((await kernel.complete("x = fra", 7)).matches)
    attributes = await kernel.complete("frame.col + 1", 9)
    assert (attributes.matches, attributes.start, attributes.end) == ((".columns",), 5, 9)
    assert await kernel.evaluate("frame.columns") == "['a', 'b']"
    assert await kernel.evaluate("nothing") == "NameError: name 'nothing' is not defined"
    assert "SyntaxError" in await kernel.evaluate("1 +")
    assert await kernel.evaluate("'x' * 10**6") == "'" + "x" * (LONGEST - 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_while_a_cell_runs_the_kernel_is_not_asked_and_nothing_waits(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        kernel = bench.kernel
        assert isinstance(kernel, JupyterKernel)
        assert (kernel.names, await kernel.complete("pri", 3)) == ((), Completion()), "no kernel has been started"
        assert await kernel.evaluate("1 + 1") == "2", "this starts one"
        cell = asyncio.create_task(kernel.execute("import time\ntime.sleep(60)", 90))
        while not _busy(await kernel.evaluate("1")):
            await asyncio.sleep(0.01)
        assert await kernel.complete("pri", 3) == Completion()
        cell.cancel()
        await asyncio.wait({cell})
        assert await kernel.evaluate("1") == "1", "the kernel is still alive"


def _busy(text: str) -> bool:
    return text == "[not read: a cell is running]"


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"matches": "abc", "cursor_start": 0, "cursor_end": 1},
        {"matches": ["a"], "cursor_start": -1, "cursor_end": 1},
        {"matches": ["a"], "cursor_start": 3, "cursor_end": 1},
        {"matches": ["a"], "cursor_start": True, "cursor_end": 1},
        {"matches": ["a"], "cursor_start": 0.5, "cursor_end": 1},
    ],
)
def test_an_invalid_completion_is_empty(reply: dict[str, object]) -> None:
    assert completion_of(reply) == Completion()


def test_a_completion_is_bounded_and_contains_only_texts() -> None:
    reply = {"matches": [1, None, *["x" * 1_000] * 5_000], "cursor_start": 0, "cursor_end": 1}
    assert completion_of(reply).matches == ("x" * 200,) * 998


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ({}, ""),
        ({"user_expressions": []}, ""),
        ({"user_expressions": {"value": {"status": "ok", "data": {"text/plain": 3}}}}, ""),
        ({"user_expressions": {"value": {"status": "ok", "data": {"text/plain": "3"}}}}, "3"),
        ({"user_expressions": {"value": {"status": "error", "ename": "E", "evalue": "v"}}}, "E: v"),
    ],
)
def test_a_value_is_a_text_or_nothing(reply: dict[str, object], text: str) -> None:
    assert value_of(reply) == text
