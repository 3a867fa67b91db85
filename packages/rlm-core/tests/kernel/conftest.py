"""Real kernels for tests. Each module has one zygote and one shared kernel; `open_kernel` starts a separate kernel."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rlm.core.events import Event
from rlm.kernel import JupyterKernel, KernelServer, KernelSpec
from rlm_testkit.kernel_bench import KernelBench, OpenKernel, open_sandbox


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="rlm-t-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def spec(folder: Path) -> KernelSpec:
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return KernelSpec(work, environment | {"HOME": str(home)}, folder, folder / "outputs")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zygote(spec: KernelSpec) -> AsyncIterator[KernelServer]:
    """A zygote that was started with another environment than the tests' kernels, so nothing depends on that
    environment.
    """
    async with KernelServer(sealed=True) as zygote:
        async with JupyterKernel(spec, lambda event: None, zygote) as kernel:
            await kernel.execute("1", 60)
        yield zygote


@pytest.fixture(scope="module")
def open_kernel(spec: KernelSpec, zygote: KernelServer) -> OpenKernel:
    count = iter(range(1_000))

    @asynccontextmanager
    async def open_(*, sandboxed: bool = False, **changes: Any) -> AsyncIterator[KernelBench]:
        run_dir = spec.run_dir / str(next(count))
        run_dir.mkdir(mode=0o700)
        own_spec = replace(spec, **{"run_dir": run_dir, "outputs": run_dir / "outputs"} | changes)
        events: list[Event] = []
        async with AsyncExitStack() as stack:
            if sandboxed:
                own_spec = replace(
                    own_spec, sandbox_handle=(await stack.enter_async_context(open_sandbox(own_spec))).handle
                )
            yield KernelBench(
                await stack.enter_async_context(JupyterKernel(own_spec, events.append, zygote)), own_spec, events
            )

    return open_


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(open_kernel: OpenKernel) -> AsyncIterator[KernelBench]:
    async with open_kernel() as bench:
        yield bench
