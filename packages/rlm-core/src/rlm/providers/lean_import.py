"""Import openai without the types that a chat request does not need.

`import openai` executes `openai.types`: some 400 modules, most of them pydantic models of other endpoints, which takes
40 % of its time. During this import, the packages below `openai.types` do not execute their `__init__`. Each name that
an `__init__` re-exports is imported at its first use, from the module that the file names (PEP 562), so all users of
the types get the real ones. If this fails, openai is imported as usual.
"""

from __future__ import annotations

import ast
import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_TYPES = "openai.types"
_Origin = tuple[str, str]
"""The module that defines a name, and its name there."""

_importing = threading.Lock()


def import_openai() -> Any:
    """Import and return the module `openai`."""
    with _importing:
        if "openai" in sys.modules:
            return sys.modules["openai"]
        with suppress(Exception), _lean():
            return importlib.import_module("openai")
        for name in [name for name in sys.modules if name.partition(".")[0] == "openai"]:
            del sys.modules[name]
        return importlib.import_module("openai")


@contextmanager
def _lean() -> Iterator[None]:
    finder = _OpenAIFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _OpenAIFinder(MetaPathFinder):
    """Find the packages below `openai.types`, with a loader that imports their names lazily."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TYPES and not fullname.startswith(_TYPES + "."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.submodule_search_locations and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Execute nothing; define a `__getattr__` that imports each name later."""
        names: dict[str, _Origin] = {}

        def find(name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            if not names:
                names.update(_reexported(self.get_data(self.path)) or self._all(module))
            if name not in names:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            source, original = names[name]
            found = getattr(importlib.import_module(source, module.__name__), original)
            setattr(module, name, found)
            return found

        module.__dict__["__getattr__"] = find

    def _all(self, module: ModuleType) -> dict[str, _Origin]:
        """Execute an `__init__` that does more than re-export, and return all of its names."""
        super().exec_module(module)
        return {name: (module.__name__, name) for name in vars(module)}


def _reexported(source: bytes) -> dict[str, _Origin]:
    """Return what an `__init__` imports with `from .x import Y as Z`. Empty if it contains anything else."""
    docstring = ast.Expr
    names: dict[str, _Origin] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.ImportFrom(module="__future__") | docstring():
                pass
            case ast.ImportFrom(module=str(origin), level=level) if level > 0:
                names |= {alias.asname or alias.name: ("." * level + origin, alias.name) for alias in node.names}
            case _:
                return {}
    return {} if "*" in names else names
