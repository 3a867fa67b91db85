"""The first notes for a resumed agent: its working directory, and the state of its kernel and variables.

Saved variables are loaded. With `--replay` the recorded cells run again, and the note lists the results that differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rlm.core.events import Failed, KernelResumed, Rerun
from rlm.core.messages import Kind, System, User
from rlm.core.ports import Kernel, Sink
from rlm.host.checkpoint import VARIABLES, refusal, restore
from rlm.host.spec import AgentSpec
from rlm.host.user import cell_note
from rlm.sessions import Session
from rlm.sessions.journal import read
from rlm.sessions.records import Journalled
from rlm.sessions.resume import cells, kernel_note, names_gone, untold_cells
from rlm.sessions.transcript import TranscriptCall


async def resume_notes(
    spec: AgentSpec, session: Session, kernel: Kernel | None, sink: Sink, replayed: Callable[[], str]
) -> list[System | User]:
    """Return notes on the user's cells that the model has not seen, and on changes. Restore variables if possible.

    `replayed` returns a note on the calls in repeated cells that got their recorded results.
    """
    untold = untold_cells(read(session.folder).records)
    moved = spec.earlier.moved_from if spec.earlier else ""
    notes = [f"The working directory is {spec.cwd} now; it was {moved}."] if moved else []
    if kernel is not None:
        notes += filter(None, [await _kernel_note(spec, session, kernel, sink), replayed()])
    notes = [" ".join(notes)] if notes else []
    return [User(note, Kind.NOTE) for note in (*(cell_note(cell.code, cell.content) for cell in untold), *notes)]


async def _kernel_note(spec: AgentSpec, session: Session, kernel: Kernel, sink: Sink) -> str:
    """Prepare the kernel. Return the note for the model; an event informs observers."""
    records = read(session.folder).records
    if spec.earlier is not None and spec.earlier.rerun:
        calls = cells(records)
        differing = await rerun(kernel, calls, spec.config.exec_timeout, sink)
        sink(KernelResumed(rerun=len(calls), differing=tuple(differing)))
        return rerun_note(differing)
    saved = session.folder / VARIABLES
    if _may_load(spec, saved, records, sink):
        restored = await restore(kernel, saved)
        sink(KernelResumed(restored=restored))
        return f"This session was resumed in a fresh kernel. {restored}"
    gone = names_gone(records)
    sink(KernelResumed(tuple(gone)))
    return kernel_note(gone)


def _may_load(spec: AgentSpec, saved: Path, records: Sequence[Journalled], sink: Sink) -> bool:
    """Whether saved variables may be loaded. If not, an event records why."""
    if not os.path.lexists(saved):
        return False
    trusted = spec.earlier is not None and spec.earlier.doubt != ""
    why = refusal(saved, records, spec.config.sandbox, trusted=trusted)
    if why:
        sink(Failed(f"The variables of this session are not restored: {why}."))
    return not why


async def rerun(kernel: Kernel, calls: Iterable[TranscriptCall], timeout: float, sink: Sink) -> list[int]:
    """Run the cells in order, each for at most `timeout` seconds. Return the numbers (from 1) of different results."""
    differing = []
    for number, call in enumerate(calls, 1):
        execution = await kernel.execute(call.code, timeout)
        same = execution.text.strip() == call.content.strip()
        sink(Rerun(call.id, same, execution.text))
        if not same:
            differing.append(number)
    return differing


def rerun_note(differing: list[int]) -> str:
    """Return the note for the model."""
    note = "This session was resumed in a fresh kernel, and its cells were run again, so their variables are there."
    if not differing:
        return note
    which = ", ".join(map(str, differing))
    return (
        f"{note} Of these cells, counted from 1, the results differ from what you saw: {which}. Check what you rely on."
    )
