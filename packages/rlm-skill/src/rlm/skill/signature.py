"""The signature of a skill's `run` as a value: its parameters, its result, and its description for a model."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from .docstring import read_docstring

REQUIRED: Any = inspect.Parameter.empty
"""The default of a parameter without one."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of `run`.

    Attributes:
        name: Its name.
        annotation: Its type, resolved; `Any` if `run` states none.
        default: Its default, or `REQUIRED`.
        doc: Its description in the docstring, on one line; may be empty.
        kind: One of the kinds of `inspect.Parameter`.
    """

    name: str
    annotation: Any
    default: Any
    doc: str
    kind: Any

    @property
    def required(self) -> bool:
        """True if a call must pass it."""
        return self.default is REQUIRED and self.named

    @property
    def named(self) -> bool:
        """True except for `*args` and `**kwargs`, for which a command has no flag."""
        return self.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Signature:
    """The information that is needed to call a skill.

    Attributes:
        name: The skill's name.
        parameters: In order.
        returns: The type of the result (for an async `run`, after awaiting); `Any` if `run` states none.
        doc: The docstring without its sections.
        is_async: True for `async def run`.
    """

    name: str
    parameters: tuple[Parameter, ...]
    returns: Any
    doc: str
    is_async: bool

    def schema(self) -> dict[str, Any]:
        """Describe the skill as a function tool in OpenAI's format, with JSON Schema for the arguments."""
        from .typed_json import function_schema

        return function_schema(self)


def read_signature(run: Callable[..., Any], name: str | None = None) -> Signature:
    """Read a function's signature.

    Args:
        run: The function, sync or async.
        name: The skill's name; by default that of the package `run` was defined in.

    Raises:
        NameError: If an annotation uses a name that does not exist at run time.
    """
    hints = get_type_hints(_function(run), include_extras=True)
    doc = read_docstring(inspect.getdoc(run if inspect.isroutine(run) else _function(run)))
    parameters = tuple(
        Parameter(p.name, hints.get(p.name, Any), p.default, doc.args.get(p.name, ""), p.kind)
        for p in inspect.signature(run).parameters.values()
    )
    return Signature(
        name=name or _function(run).__module__.partition(".")[0],
        parameters=parameters,
        returns=hints.get("return", Any),
        doc=doc.text,
        is_async=inspect.iscoroutinefunction(run) or inspect.iscoroutinefunction(_function(run)),
    )


def _function(run: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a callable object: it has the type hints."""
    if isinstance(run, functools.partial):
        return _function(run.func)
    return run if inspect.isroutine(run) else type(run).__call__
