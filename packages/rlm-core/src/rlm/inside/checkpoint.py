"""Save and restore the variables of a kernel. Each is pickled separately, so one that fails does not affect others.

This runs only in the kernel: the host never loads these pickles.
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
"""Maximum bytes of all variables together; a variable that no longer fits is not saved."""


def save(path: str) -> None:
    """Write the user's variables that can be pickled to `path` (0600), atomically."""
    shell = get_ipython()
    owned = shell.kernel.namespace.owned(shell.user_ns)
    names = {name: value for name, value in shell.user_ns.items() if name in owned}
    try:
        files.replace(path, pickle.dumps(_pickled(names)))
    except (OSError, MemoryError) as error:  # this is printed before the next cell's result
        print(f"[the variables were not saved after the last cell: {type(error).__name__}: {error}]")


def _pickled(names: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the pickles, and for each name without one the reason."""
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
    """Restore the variables that `save` wrote. Print the restored names, and the others with the reason."""
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
