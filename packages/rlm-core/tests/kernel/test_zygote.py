"""One process starts all kernels of a run, knows how each of them ended, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from rlm.errors import KernelError
from rlm.kernel import JupyterKernel, KernelServer, KernelSpec
from rlm_testkit.kernel_bench import OpenKernel, open_sandbox
from rlm_testkit.leftovers import is_alive, started_with
from rlm_testkit.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def name_of(process: psutil.Process) -> str:
    """The name of a process; empty if it has ended."""
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


async def test_kernels_are_separate(open_kernel: OpenKernel, tmp_path: Path) -> None:
    env = {"PATH": os.defpath, "WHO": "second"}
    async with open_kernel() as one, open_kernel(env=env, cwd=tmp_path) as two:
        code = (
            "import os, random, uuid\nx = 1\nos.getpid(), os.getsid(0), os.getcwd(), random.random(), uuid.uuid4().hex"
        )
        first, second = eval(await one.run(code)), eval(await two.run(code))
        assert all(a != b for a, b in zip(first, second, strict=True))
        assert first[0] == first[1]  # each leads a session of its own
        assert await two.run("os.environ['WHO']") == "'second'\n"
        assert "KeyError" in await one.run("os.environ['WHO']")


async def test_a_kernel_has_the_shared_modules_and_the_same_order_of_sets(open_kernel: OpenKernel) -> None:
    code = "import sys\n'wave' in sys.modules, 'none_such' in sys.modules, hash('a')"
    async with open_kernel() as plain, open_kernel(modules=("none_such", "wave")) as other:
        first, second = eval(await plain.run(code)), eval(await other.run(code))
        assert second[:2] == (True, False)
        assert first[2] == second[2], "cells that run again must see their sets in the same order"
        random_hash = "import subprocess\nsubprocess.check_output([sys.executable, '-c', 'print(hash(\"a\"))'])"
        assert await plain.run(random_hash) != await other.run(random_hash), (
            "programs that a cell starts must not have a fixed seed"
        )


async def test_signals_and_collector_are_those_of_a_new_process(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert await bench.run("import signal\nsignal.set_wakeup_fd(-1), signal.getsignal(signal.SIGCHLD)") == (
            "(-1, <Handlers.SIG_DFL: 0>)\n"
        )
        assert await bench.run("import gc\ngc.isenabled()") == "True\n"


async def test_no_descriptor_of_the_zygote_is_left_in_a_kernel(open_kernel: OpenKernel) -> None:
    def descriptors(pid: int) -> set[tuple[str, str]]:
        """What each descriptor refers to, and its mode. The zygote and the kernel have one end each of the log's pipe."""
        opened = {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        return {(target, Path(f"/proc/{pid}/fdinfo/{name}").read_text()[:40]) for name, target in opened.items()}

    async with open_kernel() as bench:
        kernel, zygote = eval(await bench.run("import os\nos.getpid(), os.getppid()"))
        shared = {target for target, _ in descriptors(kernel) & descriptors(zygote)}
        assert shared <= {"/dev/null", "anon_inode:[eventpoll]"}


async def test_leaving_a_kernel_kills_all_that_it_started(open_kernel: OpenKernel) -> None:
    mark = f"leak-{os.getpid()}"
    async with open_kernel(env={"PATH": os.defpath, "LEAK": mark}) as bench:
        await bench.run("import os, subprocess, multiprocessing")
        await bench.run("subprocess.Popen(['sleep', '63'])")
        await bench.run("!trap '' INT TERM HUP; sleep 63 &")
        await bench.run("!setsid sh -c 'setsid sleep 63 & exec setsid sleep 63' &")
        await bench.run("subprocess.Popen(['sh', '-c', 'nohup setsid sleep 63 >/dev/null 2>&1 &'])")
        await bench.run("if os.fork() == 0:\n    if os.fork() == 0: __import__('time').sleep(63)\n    os._exit(0)")
        await eventually(lambda: [name_of(process) for process in started_with("LEAK", mark)].count("sleep") == 5)
        kernel = int(await bench.run("os.getpid()"))
    assert not started_with("LEAK", mark)
    assert not is_alive(kernel)


async def test_leaving_a_kernel_removes_its_files(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert bench.spec
        await bench.run("%cd .\n1")
        assert (bench.spec.run_dir / "k1").stat().st_mode & 0o777 == 0o600
        await bench.kernel.restart("to have a second one")
        await bench.run("1")
        run_dir = bench.spec.run_dir
        assert list(run_dir.iterdir())
    assert list(run_dir.iterdir()) == []


async def test_no_zombie_is_left(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        zygote = psutil.Process(int(await bench.run("import os; os.getppid()")))
        for _ in range(3):
            await bench.run("import os; os._exit(1)")
        await bench.run("!(setsid sleep 0.01 &)")
        await eventually(lambda: len(zygote.children()) == 1)


async def test_thirty_two_at_once(open_kernel: OpenKernel) -> None:
    async def one(n: int) -> str:
        async with open_kernel() as bench:
            return await bench.run(f"print({n}); {n} ** 2")

    assert await asyncio.gather(*map(one, range(32))) == [f"{n}\n{n * n}\n" for n in range(32)]


async def test_descriptors_do_not_grow(open_kernel: OpenKernel) -> None:
    async def one() -> None:
        async with open_kernel() as bench:
            await bench.run("1")

    await one()  # what is opened only once is open now
    before = psutil.Process().num_fds()
    for _ in range(20):
        await one()
    await eventually(lambda: psutil.Process().num_fds() <= before)  # zmq closes its sockets with a delay


async def test_kernels_of_a_killed_zygote_end_and_it_is_replaced(spec: KernelSpec, tmp_path: Path) -> None:
    short = spec.run_dir / "killed"
    short.mkdir()
    own_spec = KernelSpec(spec.cwd, {"PATH": os.defpath, "LEAK": str(tmp_path)}, short, tmp_path / "outputs")
    async with KernelServer() as zygote, JupyterKernel(own_spec, lambda event: None, zygote) as kernel:
        await kernel.execute("precious = 1; import os, subprocess; p = subprocess.Popen(['setsid', 'sleep', '64'])", 30)
        *others, victim = eval((await kernel.execute("p.pid, os.getpid(), os.getppid()", 30)).text)
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: not is_alive(victim) and not any(map(is_alive, others)))
        assert "False\n" == await second_result_after_death(kernel, "'precious' in globals()")


async def second_result_after_death(kernel: JupyterKernel, code: str) -> str:
    """Run the code twice and return the second result. The first reports the death, before its output or as its only
    output.
    """
    first, second = [(await kernel.execute(code, 30)).text for _ in range(2)]
    assert "it was killed together with the process that starts kernels" in first
    return second


async def test_a_sandbox_that_is_ending_is_not_entered(spec: KernelSpec) -> None:
    """A sandbox needs time to end until its parent outside reaps the processes that were started in it."""
    run_dir = spec.run_dir / "ending"
    run_dir.mkdir(mode=0o700)
    async with open_sandbox(replace(spec, run_dir=run_dir)) as sandbox:
        handle = await sandbox.handle()
        first = psutil.Process(int(handle.partition("-")[0]))
        outside = await asyncio.create_subprocess_exec(*await sandbox.command(spec.cwd, "sleep", "1000"))
        await eventually(lambda: "sleep" in map(name_of, psutil.Process(outside.pid).children()))
        outside.send_signal(signal.SIGSTOP)
        first.children()[0].kill()
        await eventually(lambda: not Path(f"/proc/{first.pid}/ns/mnt").exists())
        assert is_alive(first.pid)
        opening = asyncio.ensure_future(sandbox.handle())
        await asyncio.sleep(0.1)
        outside.send_signal(signal.SIGCONT)
        assert handle != await opening
        assert await outside.wait() == -signal.SIGKILL


async def test_a_sandboxed_kernel_of_a_killed_zygote_ends_and_the_sandbox_stays(
    spec: KernelSpec, tmp_path: Path
) -> None:
    run_dir = spec.run_dir / "sandboxed"
    run_dir.mkdir()
    own_spec = KernelSpec(spec.cwd, {"PATH": os.defpath}, run_dir, tmp_path / "outputs")
    others = set(psutil.Process().children())
    async with open_sandbox(own_spec) as sandbox, KernelServer(sealed=True) as zygote:
        handle = await sandbox.handle()
        bwraps = set(psutil.Process().children()) - others
        async with JupyterKernel(
            replace(own_spec, sandbox_handle=sandbox.handle), lambda event: None, zygote
        ) as kernel:
            await kernel.execute("1", 30)
            (victim,) = set(psutil.Process().children()) - others - bwraps
            below = victim.children(recursive=True)
            assert 2 == len(below), "the kernel, and its stand-in outside"
            victim.kill()
            await eventually(lambda: not any(is_alive(process.pid) for process in below))
            assert "42\n" == await second_result_after_death(kernel, "6 * 7")
        assert handle == await sandbox.handle()


async def test_random_killing_is_survived_and_reported(spec: KernelSpec, tmp_path: Path) -> None:
    mark = f"stress-{os.getpid()}"
    chance = random.Random(1)

    async def work(n: int) -> list[str]:
        run_dir = spec.run_dir / f"stress-{n}"
        run_dir.mkdir()
        own_spec = KernelSpec(spec.cwd, {"PATH": os.defpath, "LEAK": mark}, run_dir, tmp_path / "outputs")
        async with JupyterKernel(own_spec, lambda event: None, zygote) as kernel:
            return [await run_cell(kernel) for _ in range(4)]

    async def run_cell(kernel: JupyterKernel) -> str:
        try:
            return (await kernel.execute("!sleep 0.2\nprint('fine')", 60)).text
        except KernelError as error:  # it was killed twice while it started; this is reported, too
            return f"the kernel died: {error}"

    others = set(psutil.Process().children())  # processes that other tests of this process share

    async def kill() -> None:
        for round_ in range(1_000):
            await asyncio.sleep(chance.uniform(0, 0.3))
            with contextlib.suppress(psutil.Error, IndexError):
                zygotes = set(psutil.Process().children()) - others
                kernels = [kernel for below in zygotes for kernel in below.children()]
                victim = chance.choice(kernels)
                if round_ == 5:
                    victim = victim.parents()[0]
                victim.send_signal(chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))

    async with KernelServer() as zygote:
        killing = asyncio.create_task(kill())
        try:
            results = await asyncio.gather(*map(work, range(16)))
        finally:
            killing.cancel()  # it must not kill the kernels of other tests
    texts = [text for result in results for text in result]
    assert len(texts) == 64
    assert any("the kernel died" in text for text in texts)
    assert [] == [text for text in texts if not text.endswith("fine\n") and "the kernel died" not in text]
    assert not started_with("LEAK", mark)


async def test_closing_the_zygote_kills_detached_processes_of_its_kernels(spec: KernelSpec, tmp_path: Path) -> None:
    short = spec.run_dir / "away"
    short.mkdir()
    own_spec = KernelSpec(spec.cwd, {"PATH": os.defpath}, short, tmp_path / "outputs")
    async with KernelServer() as zygote:
        async with JupyterKernel(own_spec, lambda event: None, zygote) as kernel:
            away = "echo $$ > pids; sleep 65 & echo $! >> pids; touch away; exec sleep 65"
            await kernel.execute(
                f"!env -i /usr/bin/setsid /bin/sh -c '{away}' & until [ -e away ]; do sleep 0.01; done", 30
            )
        pids = [int(pid) for pid in (spec.cwd / "pids").read_text().split()]
        assert [True, True] == [is_alive(pid) for pid in pids]
    assert [False, False] == [is_alive(pid) for pid in pids]


async def test_a_kernel_runs_as_a_plain_process_too(open_kernel: OpenKernel) -> None:
    async with open_kernel(program=(sys.executable, "-P", "-m", "rlm.inside")) as bench:
        assert await bench.run("x = 6\nx * 7") == "42\n"
        assert "rlm.inside" in await bench.run("open('/proc/self/cmdline').read()")
        assert (await bench.run("import time; time.sleep(60)", timeout=0.5)).endswith("variables are kept]")
        output = await bench.run("import os; os._exit(9)")
        assert "exited with code 9" in output
        assert await bench.run("!echo hi") == "hi\n"


async def test_a_kernel_that_cannot_start_says_why(open_kernel: OpenKernel, tmp_path: Path) -> None:
    async with open_kernel(cwd=tmp_path / "gone") as bench:
        with pytest.raises(KernelError, match=r"could not be started: its folder .*/gone no longer exists"):
            await bench.run("1")
        (tmp_path / "gone").mkdir()
        assert await bench.run("1") == "1\n"
    async with open_kernel(program=("/bin/sh", "-c", "echo out of order >&2; exit 1")) as bench:
        with pytest.raises(KernelError, match=r"it ended at once\. out of order"):
            await bench.run("1")
    async with open_kernel(run_dir=tmp_path / ("x" * 100)) as bench:
        with pytest.raises(KernelError, match="is too long for sockets"):
            await bench.run("1")


async def test_a_link_in_the_place_of_a_kernel_s_socket_is_not_followed(
    open_kernel: OpenKernel, tmp_path: Path
) -> None:
    reached: list[object] = []
    async with await asyncio.start_unix_server(lambda *_: reached.append(_), tmp_path / "trap"):
        link = f'ln -s "{tmp_path}/trap" "$0-1"; ln -s "{tmp_path}/trap" "$0-2"; exec sleep 60'
        async with open_kernel(program=("/bin/sh", "-c", link)) as bench:
            with pytest.raises(KernelError, match="could not be started"):
                await bench.run("1")
    assert [] == reached


async def test_a_kernel_that_was_never_used_costs_nothing(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert bench.spec
        assert list(bench.spec.run_dir.iterdir()) == []


async def test_leaving_while_it_starts_leaves_nothing(open_kernel: OpenKernel) -> None:
    for wait in (0, 0.005, 0.02, 0.1):
        async with open_kernel() as bench:
            assert bench.spec
            assert isinstance(bench.kernel, JupyterKernel)
            bench.kernel.start()
            await asyncio.sleep(wait)
        assert list(bench.spec.run_dir.iterdir()) == []
