"""Saves the variables of a kernel and brings them back, each by itself: one that cannot be saved costs no other.

Runs in the kernel alone: what is saved here is never loaded by the host.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cloudpickle
from IPython import get_ipython

from rlm.process import files

LIMIT = 200_000_000
"""Bytes of all variables together; those that do not fit any more are left out."""


def save(path: str) -> None:
    """Write what can be pickled of the user's variables to `path` (0600), whole or not at all."""
    shell = get_ipython()
    owned = shell.kernel.namespace.owned(shell.user_ns)
    names = {name: value for name, value in shell.user_ns.items() if name in owned}
    try:
        files.replace(path, pickle.dumps(_pickled(names)))
    except (OSError, MemoryError) as error:  # it is printed before the next cell's result
        print(f"[the variables were not saved after the last cell: {type(error).__name__}: {error}]")


def _pickled(names: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """The pickles, and why some names have none."""
    kept: dict[str, bytes] = {}
    lost: dict[str, str] = {}
    room = LIMIT
    for name, value in names.items():
        try:
            pickled = cloudpickle.dumps(value)
        except Exception as error:  # noqa: BLE001 - pickling runs code of the user's classes
            lost[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        if len(pickled) > room:
            lost[name] = f"{len(pickled):,} bytes are too many"
        else:
            room -= len(pickled)
            kept[name] = pickled
    return kept, lost


def restore(path: str) -> None:
    """Bring back what `save` wrote, and print which names are there and which are not, and why."""
    names = get_ipython().user_ns
    kept, lost = pickle.loads(Path(path).read_bytes())  # noqa: S301 - written by this session's own kernel
    for name, pickled in kept.items():
        try:
            names[name] = pickle.loads(pickled)  # noqa: S301 - as above
        except Exception as error:  # noqa: BLE001 - unpickling runs code of the user's classes
            lost[name] = f"{type(error).__name__}: {error}"[:200]
    print(f"Restored: {', '.join(name for name in kept if name not in lost) or 'nothing'}.")
    if lost:
        print(f"Not restored: {'; '.join(f'{name} ({why})' for name, why in lost.items())}.")
