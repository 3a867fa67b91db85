"""What a kernel's namespace holds before the first cell, and again after `%reset`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
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
    """Prepares the user's namespace, and says which names in it are the user's."""

    def __init__(self) -> None:
        self._context: tuple[str, str] | None = None
        self._context_due = False
        self._servers: dict[str, Any] = {}
        self._offered: set[str] = set()
        # by identity, which keeps nothing alive: what a cell binds to such a name is the user's, and is not given
        self._provided: dict[str, int] = {}
        self._skills = installed_names()  # here, which may be a zygote: looking takes 2 ms, and no kernel does it again

    def set_context(self, context: tuple[str, str] | None) -> None:
        self._context = context

    def set_servers(self, servers: tuple[tuple[str, str], ...]) -> None:
        if servers:
            from rlm.inside.mcp_servers import namespace  # most kernels have none

            self._servers = namespace(servers)

    def prepare(self, names: dict[str, Any]) -> None:
        """Put what a cell may use into `names`. Called at the start, and after a reset."""
        self._context_due = self._context is not None
        names |= {"asyncio": asyncio, "rlm": rlm, **self._servers}
        self._offered = {*self._skills, *installed_names(python_path())}
        # a call in a cell is logged with brackets, one of the skill's command without: the host counts both
        preload(self._offered, names, lambda skill: log_call(f"{skill}()"))
        self._provided = {name: id(value) for name, value in names.items()}

    def before_cell(self, code: str, names: dict[str, Any]) -> None:
        """`context` may be gigabytes: it is loaded when a cell first speaks of it, if no checkpoint brought another."""
        due = self._context_due and "context" not in names
        if self._context is not None and due and _CONTEXT.search(code):
            self._context_due = False
            kind, path = self._context
            try:
                names["context"] = _LOADERS[kind](Path(path))
            except Exception as error:  # noqa: BLE001 - unpickling runs code of the user's classes
                print(f"`context` could not be loaded: {type(error).__name__}: {error}", file=sys.stderr)
            self._provided["context"] = id(names.get("context"))

    def owned(self, names: dict[str, Any]) -> list[str]:
        """The names that would be lost with the kernel. Asked after each cell, so that no identity is met again."""
        self._provided = {
            name: identity for name, identity in self._provided.items() if id(names.get(name)) == identity
        }
        # a skill leaves its stand-in when it is first used, and is a module then
        skills = {name for name in self._offered if isinstance(names.get(name), ModuleType)}
        return sorted(name for name in names if not name.startswith("_") and name not in {*self._provided, *skills})


def _load_pickle(path: Path) -> Any:
    from rlm.process.shared_objects import load  # here, for most kernels have no context

    return load(path)


_LOADERS: dict[str, Callable[[Path], Any]] = {"file": read_text, "pickle": _load_pickle}
