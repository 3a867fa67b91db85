"""The states of a kernel and the transitions between them.

Only this module decides whether the host may send a kernel a cell, interrupt it or replace it. It does no I/O.
docs/architecture.md shows the table; docs/generate_kernel_states.py writes it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class KernelState(Enum):
    STARTING = "its process is being started, and nothing has come from it"
    IDLE = "it is up, and no cell runs"
    BUSY = "a cell was sent to it, and its result is not complete"
    ENDING = "its process has ended or is being killed; its output is still read"
    DEAD = "nothing more comes from it"

    @property
    def alive(self) -> bool:
        return self in {KernelState.STARTING, KernelState.IDLE, KernelState.BUSY}


class KernelEvent(Enum):
    UP = "its first message has come"
    CELL_SENT = "a cell is sent to it"
    CELL_DONE = "the result of the cell is complete"
    DISCONNECTED = "its connection is lost but its process runs; it is killed"
    EXITED = "its process has ended"
    DRAINED = "all its output has been read"
    CLOSED = "the host no longer needs it"


class ImpossibleEvent(Exception):
    """An event that cannot occur in this state: a bug of rlm."""


_State, _Event = KernelState, KernelEvent
TRANSITIONS: Mapping[KernelState, Mapping[KernelEvent, KernelState]] = {
    _State.STARTING: {
        _Event.UP: _State.IDLE,
        _Event.DISCONNECTED: _State.DEAD,
        _Event.EXITED: _State.DEAD,
        _Event.CLOSED: _State.DEAD,
    },
    _State.IDLE: {
        _Event.CELL_SENT: _State.BUSY,
        _Event.DISCONNECTED: _State.ENDING,
        _Event.EXITED: _State.ENDING,
        _Event.CLOSED: _State.DEAD,
    },
    _State.BUSY: {
        _Event.CELL_DONE: _State.IDLE,
        _Event.DISCONNECTED: _State.ENDING,
        _Event.EXITED: _State.ENDING,
        _Event.CLOSED: _State.DEAD,
    },
    _State.ENDING: {
        _Event.CELL_DONE: _State.ENDING,
        _Event.EXITED: _State.ENDING,  # it was killed because it was DISCONNECTED
        _Event.DRAINED: _State.DEAD,
        _Event.CLOSED: _State.DEAD,
    },
    _State.DEAD: {
        _Event.CELL_DONE: _State.DEAD,
        _Event.EXITED: _State.DEAD,  # it was killed because it was CLOSED
        _Event.DRAINED: _State.DEAD,
        _Event.CLOSED: _State.DEAD,
    },
}
"""An event that is missing for a state is impossible in that state. DEAD is final."""


def next_state(state: KernelState, event: KernelEvent) -> KernelState:
    """Return the state that follows an event.

    Raises:
        ImpossibleEvent: the table has no such transition.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ImpossibleEvent(f"{event.name} in {state.name}") from None
