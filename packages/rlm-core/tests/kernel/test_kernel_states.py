"""A kernel's states: the whole table, and a real kernel that passes through them."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rlm.errors import KernelError
from rlm.kernel import KernelServer, KernelSpec
from rlm.kernel.connection import KernelConnection
from rlm.kernel.output import CellOutput
from rlm.kernel.state import ImpossibleEvent, KernelEvent, KernelState, next_state

pytestmark = pytest.mark.asyncio(loop_scope="module")

S = KernelState

ENDS_ON_COMMAND = """
import os, threading, time

def wait():
    while not os.path.exists("end"):
        time.sleep(0.01)
    print("late", flush=True)
    os._exit(3)

threading.Thread(target=wait).start()
"""

LEADS_TO = """
                 STARTING IDLE    BUSY    ENDING  DEAD
    UP           IDLE     -       -       -       -
    CELL_SENT    -        BUSY    -       -       -
    CELL_DONE    -        -       IDLE    ENDING  DEAD
    DISCONNECTED DEAD     ENDING  ENDING  -       -
    EXITED       DEAD     ENDING  ENDING  ENDING  DEAD
    DRAINED      -        -       -       DEAD    DEAD
    CLOSED       DEAD     DEAD    DEAD    DEAD    DEAD
"""


def expected() -> dict[tuple[str, str], str]:
    heading, *rows = (line.split() for line in LEADS_TO.strip().splitlines())
    return {(state, event): to for event, *follows in rows for state, to in zip(heading, follows, strict=True)}


@pytest.mark.parametrize(("state", "event"), [*itertools.product(KernelState, KernelEvent)])
async def test_each_event_in_each_state_leads_where_the_table_says_or_is_refused(
    state: KernelState, event: KernelEvent
) -> None:
    to = expected()[state.name, event.name]
    if to == "-":
        with pytest.raises(ImpossibleEvent, match=f"{event.name} in {state.name}"):
            next_state(state, event)
    else:
        assert next_state(state, event) is KernelState[to]


async def test_a_real_kernel_goes_from_start_to_death(spec: KernelSpec, zygote: KernelServer, folder: Path) -> None:
    final_states: list[KernelState] = []
    new_output = partial(CellOutput, 1_000, folder / "outputs", "states")
    connection = await KernelConnection.open(spec, 7, zygote, new_output, lambda it: final_states.append(it.state))
    states = [connection.state]
    with closing(new_output()) as output:
        with connection.running("print(6 * 7)", output) as cell:
            states.append(connection.state)
            with pytest.raises(ImpossibleEvent, match="CELL_SENT in BUSY"), connection.running("2", output):
                pass
            await cell.over
            states.append(connection.state)  # its result is not complete yet
        states.append(connection.state)
        assert output.text() == "42\n"
        with connection.running("import os; os._exit(3)", output) as cell:
            await cell.over
            states.append(connection.state)
        with pytest.raises(ImpossibleEvent, match="CELL_SENT in DEAD"), connection.running("1", output):
            pass
    assert connection.why_dead == "its process exited with code 3"
    await connection.close()
    assert [*states, connection.state] == [S.IDLE, S.BUSY, S.BUSY, S.IDLE, S.DEAD, S.DEAD]
    assert final_states == [], "the result of the cell reports the death"


async def test_one_that_ends_between_cells_is_dead_when_all_it_printed_is_read(
    spec: KernelSpec, zygote: KernelServer, folder: Path
) -> None:
    final_states: list[KernelState] = []
    new_output = partial(CellOutput, 1_000, folder / "outputs", "states")
    connection = await KernelConnection.open(spec, 8, zygote, new_output, lambda it: final_states.append(it.state))
    with closing(new_output()) as output, connection.running(ENDS_ON_COMMAND, output) as cell:
        await cell.over
    (spec.cwd / "end").touch()
    await connection.dead.wait()
    assert final_states == [S.DEAD]
    assert connection.report().strip() == "late"
    await connection.close()


async def test_one_that_ends_before_it_is_up_cannot_be_started(spec: KernelSpec, zygote: KernelServer) -> None:
    with pytest.raises(KernelError, match="it ended at once"):
        await KernelConnection.open(
            replace(spec, program=("/bin/false",)), 9, zygote, partial(CellOutput, 1_000, spec.outputs, "x"), print
        )
    assert not list(spec.run_dir.glob("k9*"))
