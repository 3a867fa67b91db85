"""What a cell can do: event loops, warnings, magics, and the environment that it finds."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest
from rlm_testkit.kernel_bench import KernelBench, OpenKernel

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIN = "import asyncio\nasync def main(n=1):\n    await asyncio.sleep(0.01)\n    return n\n"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("asyncio.run(main())", "1\n"),
        ("asyncio.run(main()) + asyncio.run(main())", "2\n"),
        ("with asyncio.Runner() as runner: print(runner.run(main()))", "1\n"),
        ("asyncio.new_event_loop().run_until_complete(main())", "1\n"),
        ("asyncio.get_event_loop().run_until_complete(main())", "1\n"),
        ("async def both(): return await asyncio.gather(main(1), main(2))\nasyncio.run(both())", "[1, 2]\n"),
        ("async def timed():\n    async with asyncio.timeout(5): return await main()\nasyncio.run(timed())", "1\n"),
        ("async def threaded(): return await asyncio.to_thread(len, 'abc')\nasyncio.run(threaded())", "3\n"),
        ("def deep(): return asyncio.run(main())\ndeep()", "1\n"),
        ("await main()", "1\n"),
        ("await asyncio.gather(main(1), main(2))", "[1, 2]\n"),
        ("asyncio.get_running_loop()", "RuntimeError: no running event loop\n"),
        (
            "import threading\nt = threading.Thread(target=lambda: print(asyncio.run(main())))\nt.start(); t.join()",
            "1\n",
        ),
        ("p = await asyncio.create_subprocess_exec('true')\nawait p.wait()", "0\n"),
    ],
)
async def test_event_loops_work_as_in_a_script(shared: KernelBench, code: str, text: str) -> None:
    assert (await shared.run(MAIN + code)).endswith(text)
    assert await shared.run("await main(5)") == "5\n"


async def test_a_task_started_in_one_cell_is_awaited_in_another(shared: KernelBench) -> None:
    assert await shared.run(MAIN + "task = asyncio.create_task(main(8))") == "[no output]"
    assert await shared.run("await task") == "8\n"
    assert await shared.run("task = asyncio.ensure_future(main(9))") == "[no output]"
    assert await shared.run("await task") == "9\n"


@pytest.mark.parametrize(
    "code",
    [
        "with __import__('contextlib').redirect_stdout(None): print('nothing')",
        "import builtins\nbuiltins.print('x', end='')",
        "import warnings; warnings.warn('careful')",
        "import logging; logging.basicConfig(); logging.warning('careful')",
        "import threading\nt = threading.Thread(target=lambda: 1/0); t.start(); t.join()",
        "import asyncio\nasync def bad(): 1/0\nt = asyncio.create_task(bad())",
        "import gc; gc.collect();",
    ],
)
async def test_the_next_cell_is_not_affected(open_kernel: OpenKernel, code: str) -> None:
    async with open_kernel() as bench:
        await bench.run(code)
        output = await bench.run(
            "import os, sys\nprint('out'); print('err', file=sys.stderr); os.system('echo C'); 'value'"
        )
        assert output.endswith("out\nerr\nC\n'value'\n")
        assert not bench.restarts


async def test_a_cell_within_a_cell_runs(shared: KernelBench) -> None:
    assert await shared.run("get_ipython().run_cell('inner = 5')\ninner") == "5\n"
    assert (await shared.run("%%time\n1 + 1")).endswith("2\n")


async def test_the_environment_is_the_callers_with_quiet_settings(open_kernel: OpenKernel) -> None:
    async with open_kernel(
        env={"PATH": os.defpath, "MINE": "1", "TERM": "xterm-256color", "TZ": "Asia/Tokyo"}
    ) as bench:
        output = await bench.run("import os, time\nsorted(os.environ), os.environ['TERM'], time.tzname[0]")
        assert "'MINE'" in output
        assert "'HOME'" not in output
        assert "'dumb'" in output
        assert "'JST'" in output
        assert await bench.run("!echo $MINE $PAGER") == "1 cat\n"


async def test_the_working_directory_shadows_nothing_and_is_importable(open_kernel: OpenKernel, tmp_path: Path) -> None:
    for name in ("rlm", "json", "zmq", "IPython", "ipykernel", "asyncio", "random", "context", "mine"):
        (tmp_path / f"{name}.py").write_text(
            f"raise SystemExit('{name} of the project')" if name != "mine" else "x = 7"
        )
    async with open_kernel(cwd=tmp_path) as bench:
        assert await bench.run("import json, random, rlm, zmq, mine\nmine.x") == "7\n"
        assert await bench.run("import os; os.getcwd()") == f"{str(tmp_path)!r}\n"


async def test_the_user_s_own_path_comes_after_ours(open_kernel: OpenKernel, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadow')")
    (tmp_path / "theirs.py").write_text("x = 8")
    env = {"PATH": os.defpath, "PYTHONPATH": str(tmp_path)}
    async with open_kernel(env=env) as bench:
        assert await bench.run("import json, theirs\ntheirs.x") == "8\n"
        assert await bench.run("!echo $PYTHONPATH") == f"{tmp_path}\n"


async def test_the_python_is_ours(shared: KernelBench) -> None:
    assert await shared.run("import sys\nsys.executable") == f"{sys.executable!r}\n"


async def test_nothing_is_written_to_the_home_folder(shared: KernelBench) -> None:
    assert shared.spec
    await shared.run("%cd .\n%history\nfrom pathlib import Path")
    assert list(Path(shared.spec.env["HOME"]).iterdir()) == []


async def test_history_and_magics_work(shared: KernelBench) -> None:
    assert await shared.run("%timeit -n1 -r1 pass")
    await shared.run("a_number = 3")
    assert await shared.run("Out[max(Out)] if Out else 0")
    assert "a_number" in await shared.run("%who")


async def test_a_pickled_context_exists_when_it_is_mentioned(open_kernel: OpenKernel, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(pickle.dumps({"rows": [1, 2, 3]}))
    async with open_kernel(context=("pickle", path)) as bench:
        assert await bench.run("'con' 'text' in globals()") == "False\n"
        assert await bench.run("context['rows']") == "[1, 2, 3]\n"
        await bench.run("context = 'mine now'")
        assert await bench.run("context") == "'mine now'\n"
        await bench.run("%reset -f")
        assert await bench.run("len(context)") == "1\n"
        assert "Nothing was defined" in await bench.run("import os; os._exit(1)")
        assert await bench.run("context") == "{'rows': [1, 2, 3]}\n"


async def test_a_context_file_is_its_text_unchanged(open_kernel: OpenKernel, tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes("line é\r\nline 2\n".encode() + b"\xff\n")
    async with open_kernel(context=("file", path)) as bench:
        assert await bench.run("type(context), len(context), context[:8]") == "(str, 17, 'line é\\r\\n')\n"
        assert await bench.run("import re; re.findall('line .', context)") == "['line é', 'line 2']\n"
        assert await bench.run("context.splitlines()[-1]") == "'\ufffd'\n"


async def test_a_context_that_cannot_be_loaded_is_reported(open_kernel: OpenKernel, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"no pickle")
    async with open_kernel(context=("pickle", tmp_path / "payload")) as bench:
        output = await bench.run("context")
        assert "`context` could not be loaded: UnpicklingError" in output
        assert "NameError" in output
        assert await bench.run("1") == "1\n"
