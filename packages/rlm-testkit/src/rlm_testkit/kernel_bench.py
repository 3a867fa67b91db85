"""A kernel for tests, and a fake one with the same contract."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass, field
from typing import Any

from rlm.core.events import Event, KernelRestarted, OutputReceived
from rlm.core.ports import Execution, Kernel, Sink
from rlm.kernel import KernelSpec
from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.sandbox import Sandbox, open_policy

from rlm_testkit.waiting import TIMEOUT


@dataclass
class KernelBench:
    """A kernel, and its events."""

    kernel: Kernel
    spec: KernelSpec | None = None
    events: list[Event] = field(default_factory=list)

    async def run(self, code: str, timeout: float = TIMEOUT) -> str:
        return (await self.execute(code, timeout)).text

    async def execute(self, code: str, timeout: float = TIMEOUT) -> Execution:
        return await self.kernel.execute(code, timeout)

    async def begin(self, code: str, timeout: float = TIMEOUT) -> asyncio.Task[Execution]:
        """Start a cell and return when it has printed something, however slow the machine is.

        Only then does its time limit start.
        """
        printed = len(self.printed)
        with self.kernel.waiting():
            cell = asyncio.create_task(self.execute(code, timeout))
            while len(self.printed) == printed and not cell.done():
                await asyncio.sleep(0.01)
        return cell

    async def overrun(self, code: str) -> Execution:
        """Run a cell that prints something and exceeds its time limit."""
        return await (await self.begin(code, 0.5))

    @property
    def restarts(self) -> list[KernelRestarted]:
        return [event for event in self.events if isinstance(event, KernelRestarted)]

    @property
    def printed(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, OutputReceived))


@contextlib.asynccontextmanager
async def open_sandbox(spec: KernelSpec) -> AsyncIterator[Sandbox]:
    """Open a sandbox for such a kernel."""
    with (
        Supervisor() as supervisor,
        closing(ProcessGroups(supervisor)) as groups,
        open_policy(
            spec.cwd, spec.run_dir, spec.run_dir, spec.env, groups, net=False, memory=8 * 10**9, file_size=4 * 10**9
        ) as policy,
    ):
        async with Sandbox(policy, spec.run_dir) as sandbox:
            yield sandbox


OpenKernel = Callable[..., AbstractAsyncContextManager[KernelBench]]


class FakeKernel:
    """`rlm.core.ports.Kernel` in this process: no isolation, no interrupts, but quick.

    For tests of code that uses a kernel.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._names: dict[str, Any] = {}
        self._late = ""

    async def execute(self, code: str, timeout: float, sink: Sink | None = None) -> Execution:
        await asyncio.sleep(0)
        late, self._late = self._late, ""
        out = io.StringIO()
        if late:
            out.write(f"[output since the last cell]\n{late}[this cell]\n")
        ok = True
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                self._run(code)
            except Exception:  # noqa: BLE001 - a cell may raise anything
                traceback.print_exc()
                ok = False
        return Execution(out.getvalue() or "[no output]", ok)

    async def execute_internal(self, code: str, timeout: float) -> str:
        printed = (await self.execute(code, timeout)).text
        self._late += printed if printed != "[no output]" else ""
        return ""

    async def restart(self, why: str) -> None:
        lost, self._names = tuple(name for name in self._names if not name.startswith("_")), {}
        self._sink(KernelRestarted(why, lost))

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        yield

    def _run(self, code: str) -> None:
        body = ast.parse(code).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "<cell>", "exec"), self._names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), self._names)
            if value is not None:
                print(repr(value))
