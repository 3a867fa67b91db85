"""Skills in a notebook: callable modules that are imported at their first use.

`preload` puts a stand-in for every skill into the notebook's variables. Its first use imports the skill. An import hook
makes each skill's module callable, regardless of how it is imported. If the import fails, the error is raised at that
use, with the skill's own traceback; other skills are not affected.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any
from weakref import WeakSet

OnCall = Callable[[str], None]
"""Called with a skill's name at every call. Must return at once and must not raise."""

_COUNTED: WeakSet[Callable[..., Any]] = WeakSet()


def preload(names: Iterable[str], namespace: MutableMapping[str, Any], on_call: OnCall | None = None) -> None:
    """Put skills into a namespace without importing them.

    Afterwards `await websearch(...)`, `websearch.run(...)`, `import websearch`, `from websearch import run`,
    `help(websearch)`, `inspect.signature(websearch)`, `websearch?` and completion work. May be called again, for
    example after `%reset`: existing names in the namespace are not changed.

    Args:
        names: Import names of installed skills (see `installed_names`).
        namespace: The notebook's variables.
        on_call: Called with the skill's name whenever its `run` is called from Python.
    """
    finder = _SkillFinder(frozenset(names), on_call)
    sys.meta_path[:] = [finder, *(other for other in sys.meta_path if not isinstance(other, _SkillFinder))]
    for name in sorted(finder.names):
        if name in sys.modules:
            make_callable(sys.modules[name], on_call)
        namespace.setdefault(name, SkillStandIn(name, namespace))


def make_callable(module: ModuleType, on_call: OnCall | None = None) -> None:
    """Make a skill's module callable, as its `run` is. A module without a callable `run` is not changed."""
    run = getattr(module, "run", None)
    if not callable(run):
        return
    vars(module).setdefault("__all__", ["run"])  # so that help() shows `run`, which is defined in another file
    counted = inspect.isfunction(run) and run in _COUNTED  # a reloaded module has a new function
    if on_call and not counted:
        vars(module)["run"] = counted_run = _counting(run, module.__name__, on_call)
        _COUNTED.add(counted_run)
    module.__class__ = SkillModule


def _counting(run: Callable[..., Any], name: str, on_call: OnCall) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(run):

        @functools.wraps(run)
        async def counted_async(*args: Any, **kwargs: Any) -> Any:
            on_call(name)
            return await run(*args, **kwargs)

        return counted_async

    @functools.wraps(run)
    def counted(*args: Any, **kwargs: Any) -> Any:
        on_call(name)
        return run(*args, **kwargs)

    return counted


# The class of a skill's module. This is a comment, because IPython would show a docstring for `websearch?`.
class SkillModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.run)

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)

    def getdoc(self) -> str:
        """The text that IPython shows for `websearch?`: the docstring of `run`, which explains the arguments."""
        return inspect.getdoc(self.run) or self.__doc__ or ""


# Stands in a namespace for a skill that is not imported yet, and is replaced at its first use. It is not in
# `sys.modules`, because code that walks over all modules must not import every skill.
class SkillStandIn(ModuleType):
    def __init__(self, name: str, namespace: MutableMapping[str, Any]) -> None:
        super().__init__(name)
        vars(self)["_namespace"] = namespace

    def __getattribute__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name in {"__class__", "__dict__", "__name__"}:
            return super().__getattribute__(name)
        if name.startswith(("_ipython_", "_repr_")):  # displays look these up on every object: no use yet
            raise AttributeError(name)
        return getattr(_load(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_load(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_load(self), name)

    def __dir__(self) -> Iterable[str]:
        return dir(_load(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return _load(self)(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<skill {self.__name__!r}, not imported yet>"

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (self.__name__,)


def _load(stand_in: SkillStandIn) -> Any:
    """Import the skill, and replace its stand-in. `__tracebackhide__`, an IPython convention, hides our frames."""
    __tracebackhide__ = True
    name, namespace = stand_in.__name__, vars(stand_in)["_namespace"]
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        machinery = (__file__, importlib.__file__, "<frozen importlib")
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename.startswith(machinery):  # frames above the skill's own
            trace = trace.tb_next
        error.__traceback__ = trace
        raise
    if namespace.get(name) is stand_in:
        namespace[name] = module
    return module


class _SkillFinder(MetaPathFinder):
    """Finds skills as Python does, and makes them callable after their import."""

    def __init__(self, names: frozenset[str], on_call: OnCall | None) -> None:
        self.names = names
        self._on_call = on_call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.names:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec), None)
        if spec and spec.loader:
            spec.loader = _SkillLoader(spec.loader, self._on_call)
        return spec


class _SkillLoader(Loader):
    """Runs the module by its own loader, and restores that loader afterwards."""

    def __init__(self, loader: Any, on_call: OnCall | None) -> None:
        self._loader = loader
        self._on_call = on_call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        __tracebackhide__ = True
        module.__loader__ = self._loader
        if module.__spec__:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        make_callable(module, self._on_call)
