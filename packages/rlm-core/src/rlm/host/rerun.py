"""`rlm resume --replay`: run the recorded cells again, and say where that gives something else."""

from __future__ import annotations

from collections.abc import Iterable

from rlm.core.events import Rerun
from rlm.core.ports import Kernel, Sink
from rlm.sessions.transcript import TranscriptCall


async def rerun(kernel: Kernel, calls: Iterable[TranscriptCall], timeout: float, sink: Sink) -> list[int]:
    """Run the cells in order, each for at most `timeout` seconds; the numbers (from 1) of those that differ."""
    differing = []
    for number, call in enumerate(calls, 1):
        execution = await kernel.execute(call.code, timeout)
        same = execution.text.strip() == call.content.strip()
        sink(Rerun(call.id, same, execution.text))
        if not same:
            differing.append(number)
    return differing


def rerun_note(differing: list[int]) -> str:
    """What the model is told."""
    note = "This session was resumed in a fresh kernel, and its cells were run again, so their variables are there."
    if not differing:
        return note
    which = ", ".join(map(str, differing))
    return (
        f"{note} Of these cells, counted from 1, the results differ from what you saw: {which}. Check what you rely on."
    )
