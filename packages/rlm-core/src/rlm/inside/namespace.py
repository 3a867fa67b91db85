"""The content of a kernel's namespace before the first cell, and again after `%reset`."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import rlm
from rlm.inside.launch import python_path
from rlm.skill import installed_names, preload
from rlm.skill.command import log_call
from rlm.text.lazy_text import read_text

_CONTEXT = re.compile(r"\bcontext\b")


class Namespace:
    """Prepare the user's namespace, and list the names in it that are the user's."""

    def __init__(self) -> None:
        self._context: tuple[str, str] | None = None
        self._context_due = False
        self._servers: dict[str, Any] = {}
        self._offered: set[str] = set()
        # names with the id of our value, which keeps no value alive; another value under such a name is the user's
        self._provided: dict[str, int] = {}
        self._skills = installed_names()  # it takes 2 ms; here a zygote does it once for all kernels

    def set_context(self, context: tuple[str, str] | None) -> None:
        self._context = context

    def set_servers(self, servers: tuple[tuple[str, str], ...]) -> None:
        if servers:
            from rlm.inside.mcp_servers import namespace  # lazy: most kernels have no servers

            self._servers = namespace(servers)

    def prepare(self, names: dict[str, Any]) -> None:
        """Add the names that rlm provides to `names`. Called at the start, and after a reset."""
        self._context_due = self._context is not None
        names |= {"asyncio": asyncio, "rlm": rlm, **self._servers}
        self._offered = {*self._skills, *installed_names(python_path())}
        # a call in a cell is logged with parentheses, a call of the skill's command without: the host counts both
        preload(self._offered, names, lambda skill: log_call(f"{skill}()"))
        self._provided = {name: id(value) for name, value in names.items()}

    def before_cell(self, code: str, names: dict[str, Any]) -> None:
        """Load `context`, which may be gigabytes, before the first cell that names it. A restored `context` is kept."""
        due = self._context_due and "context" not in names
        if self._context is not None and due and _CONTEXT.search(code):
            self._context_due = False
            kind, path = self._context
            try:
                names["context"] = _load_pickle(Path(path)) if kind == "pickle" else read_text(Path(path))
            except Exception as error:  # noqa: BLE001 - unpickling runs code of the user's classes
                print(f"`context` could not be loaded: {type(error).__name__}: {error}", file=sys.stderr)
            self._provided["context"] = id(names.get("context"))

    def owned(self, names: dict[str, Any]) -> list[str]:
        """Return the names that would be lost with the kernel. Call it after each cell, before an id can be reused."""
        self._provided = {
            name: identity for name, identity in self._provided.items() if id(names.get(name)) == identity
        }
        # at its first use, a skill's placeholder is replaced by the module
        skills = {name for name in self._offered if isinstance(names.get(name), ModuleType)}
        return sorted(name for name in names if not name.startswith("_") and name not in {*self._provided, *skills})


def _load_pickle(path: Path) -> Any:
    from rlm.process.shared_objects import load  # lazy: most kernels have no context

    return load(path)
