"""The tool `ipython` with a fake kernel. The tests in kernel/ use the real one."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rlm.core.messages import ToolCall
from rlm.core.ports import Execution, Sink
from rlm.core.toolbox import arguments
from rlm.errors import BadArguments
from rlm.tools.ipython import IPython
from rlm_testkit.fakes import history
from rlm_testkit.kernel_bench import FakeKernel


class Recorder:
    """A kernel that stores its calls, and shows pictures."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.asked: list[tuple[str, float]] = []

    async def execute(self, code: str, timeout: float, sink: Sink | None = None) -> Execution:
        self.asked.append((code, timeout))
        return self.execution

    async def execute_internal(self, code: str, timeout: float) -> str:
        raise AssertionError

    async def restart(self, why: str) -> None: ...

    @contextmanager
    def waiting(self) -> Iterator[None]:
        yield


async def test_a_cell_runs_and_its_text_is_the_result() -> None:
    tool = IPython(FakeKernel(lambda event: None), 300)
    outcome = await tool.run({"code": "6 * 7"}, history(1))
    assert outcome.content == "42\n"
    assert outcome.ok
    assert not (await tool.run({"code": "1/0"}, history(1))).ok


@pytest.mark.parametrize(
    ("setting", "asked", "granted"),
    [
        (300, None, 300),
        (300, 10, 10),
        (300, 600, 600),
        (300, 9_000, 600),
        (1_000, 9_000, 1_000),
    ],
)
async def test_the_timeout_is_at_most_the_setting_or_ten_minutes(
    setting: float, asked: float | None, granted: float
) -> None:
    kernel = Recorder(Execution("x"))
    values = {"code": "1"} | ({} if asked is None else {"timeout": asked})
    await IPython(kernel, setting).run(values, history(1))
    assert kernel.asked == [("1", granted)]


@pytest.mark.parametrize("asked", [0, -1, -0.5, float("nan")])
async def test_a_timeout_of_0_is_refused_as_by_bash(asked: float) -> None:
    kernel = Recorder(Execution("x"))
    with pytest.raises(BadArguments, match="ipython: 'timeout' must be more than 0 seconds"):
        await IPython(kernel, 300).run({"code": "1", "timeout": asked}, history(1))
    assert not kernel.asked


async def test_the_result_says_how_full_the_context_is() -> None:
    tool = IPython(Recorder(Execution("out\n")), 300, max_turns_in_context=7)
    assert (await tool.run({"code": "1"}, history(3))).content == "out\n[context turns: 3/7]"
    tool = IPython(Recorder(Execution("[no output]")), 300, max_turns_in_context=7)
    assert (await tool.run({"code": "1"}, history(9))).content == "[no output]\n[context turns: 7/7]"


async def test_pictures_are_sent_only_if_requested(tmp_path: Path) -> None:
    picture, drawing, large = tmp_path / "a.png", tmp_path / "b.svg", tmp_path / "c.png"
    picture.write_bytes(b"data")
    drawing.write_text("<svg/>")
    large.write_bytes(bytes(6 << 20))
    kernel = Recorder(Execution("[picture: …]\n", pictures=(picture, drawing, large)))
    assert (await IPython(kernel, 300).run({"code": "1"}, history(1))).pictures == ()
    outcome = await IPython(kernel, 300, images=True).run({"code": "1"}, history(1))
    assert outcome.pictures == (f"data:image/png;base64,{base64.b64encode(b'data').decode()}",)


def test_the_schema_fits_what_the_toolbox_checks() -> None:
    tool = IPython(Recorder(Execution("")), 300)
    call = ToolCall("1", "ipython", '{"code": "1", "timeout": 5}')
    assert arguments(call, tool.schema()) == {"code": "1", "timeout": 5}
    assert tool.schema() == tool.schema()
    assert len(str(tool.schema())) < 500  # every prompt contains it
