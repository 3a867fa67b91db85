"""The real matplotlib, installed with `%pip`: figures come out of cells as pictures. One kernel without a sandbox, one
in it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rlm.kernel import JupyterKernel
from rlm_testkit.found_uv import UV
from rlm_testkit.kernel_bench import KernelBench, OpenKernel

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]  # a download of 40 MB

WAITING_FIGURE = (
    "import asyncio\ngo = asyncio.Event()\nplt.plot([1, 2])\nprint('drawn')\nawait go.wait()\nlen(plt.gca().lines)"
)
FIGURES = [
    ("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('shown')", 1),
    ("plt.plot([2, 1]);", 1),  # shown at the end of the cell
    ("_, axes = plt.subplots()\naxes.bar(['a'], [1])\nprint('drawn')", 1),
    ("%matplotlib inline\nfor _ in range(2): plt.figure(); plt.plot([1])", 2),
    ("%matplotlib qt\nplt.plot([1])\nplt.show()", 1),
    ("%config InlineBackend.figure_format = 'svg'\nplt.plot([1])\nplt.show()", 1),
    ("figure, _ = plt.subplots()\nplt.close()\nfigure", 1),
    ("plt.plot([1])\nplt.savefig('f.png')\nplt.close()", 0),
    ("plt.plot([1])\nplt.show()\n1 / 0", 1),
    ("print(plt.get_backend())", 0),
]


async def test_figures_of_the_real_library_are_pictures(open_kernel: OpenKernel) -> None:
    prefixes = ("RLM_", "XDG_DATA", "VIRTUAL_ENV", "UV_PROJECT", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    async with open_kernel() as bare:
        assert bare.spec
        environment |= {"HOME": bare.spec.env["HOME"], "PATH": f"{UV.parent}:{os.environ['PATH']}"}
    environment |= {"XDG_CONFIG_HOME": str(Path.home() / ".config"), "UV_CACHE_DIR": str(Path.home() / ".cache/uv")}
    async with open_kernel(env=environment) as bench:
        installed = await bench.run("%pip install --only-binary :all: matplotlib", 240)
        assert "[for rlm's kernels, this one and later ones, in " in installed, installed
        for code, count in FIGURES:
            result = await bench.execute(code)
            assert count == len(result.pictures) == result.text.count("[picture: "), (code, result.text)
            assert all(path.stat().st_size > 1_000 for path in result.pictures)
            assert "UserWarning" not in result.text
        assert (await bench.execute("plt.get_backend()")).text == "'inline'\n"
        await _each_of_two_cells_that_run_has_its_own(bench)
        reported = await bench.run("%pip uninstall -y matplotlib", 60)
        assert "matplotlib" in reported
        assert "ModuleNotFoundError" in await bench.run(
            "import importlib, sys; del sys.modules['matplotlib']\nimport matplotlib"
        )


async def _each_of_two_cells_that_run_has_its_own(bench: KernelBench) -> None:
    """A figure that a cell of the agent has begun: the user's cell does not show it, close it or draw in it."""
    kernel = bench.kernel
    assert isinstance(kernel, JupyterKernel)
    agent = await bench.begin(WAITING_FIGURE)
    user = await kernel.execute_for_user("plt.plot([3]);", lambda _: None)
    assert len(user.pictures) == 1, user
    await kernel.execute_for_user("go.set()", lambda _: None)
    assert len((await agent).pictures) == 1
    assert "drawn\n1\n" in (await agent).text, "its two lines"
