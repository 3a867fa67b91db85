"""Run a cell of the user at once while a cell of the agent awaits. The kernel's side is `rlm.inside.concurrent`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

from rlm.core.ports import Execution
from rlm.kernel.cell import RunningCell
from rlm.kernel.connection import KernelConnection
from rlm.kernel.output import CellOutput

_INTERRUPTED = 3.0  # grace seconds of an interrupted cell; then its kernel is killed
_ABORTED = "aborted"


async def awaits(connection: KernelConnection) -> bool:
    """Wait until the agent's cell awaits something (True) or has ended (False)."""
    cell = connection.cell
    if cell is None or cell.internal:
        return False
    await cell.wait_until_begun()
    awake = asyncio.create_task(connection.request("awake_request", {}, None))
    signs: set[asyncio.Future[Any]] = {awake, cell.over}
    try:
        await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
        return awake.done() and connection.cell is cell
    finally:
        awake.cancel()


async def run_beside(connection: KernelConnection, code: str, new_output: Callable[[], CellOutput]) -> Execution | None:
    """Run a cell of the user beside the agent's cell, which awaits.

    None: the agent's cell has ended, and the user's cell must run as the next cell. Cancelling this interrupts the
    user's cell, and never the agent's cell.
    """
    with closing(new_output()) as output, connection.running_beside(code, output) as cell:
        dead = asyncio.create_task(connection.dead.wait())
        signs: set[asyncio.Future[Any]] = {cell.over, dead}
        try:
            await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _interrupt(connection, cell)
            raise
        finally:
            dead.cancel()
        if not cell.replied.done():
            return cell.execution(f"[the kernel died: {connection.why_dead}]")
        if cell.replied.result().content.get("status") == _ABORTED:
            return None
        return cell.execution("")


async def _interrupt(connection: KernelConnection, cell: RunningCell) -> None:
    """Interrupt the user's cell after it has begun: an earlier interrupt would hit the agent's cell."""
    await cell.wait_until_begun(_INTERRUPTED)
    connection.interrupt()
    await asyncio.wait({cell.over}, timeout=_INTERRUPTED)
    if not cell.over.done():
        await connection.kill()
