"""Build a command line from a signature, with tyro. Slow to import (tyro takes 70 to 150 ms): only `cli` does.

tyro parses single values, lists of them, and dataclasses. Every dict, and every type that tyro cannot parse, is read as
JSON.
"""

import dataclasses
import datetime
import enum
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from .signature import Parameter, Signature

_VALUES = (str, int, float, bool, bytes, NoneType, PurePath, enum.Enum, datetime.date, datetime.time)
_LISTS = (list, tuple, set, frozenset, Sequence, Iterable)
_UNIONS = (Union, UnionType)

Call = tuple[tuple[Any, ...], dict[str, Any]]


class RepeatedFlagError(Exception):
    """A flag is given twice; tyro would silently keep the last value."""


def parse(signature: Signature, words: Sequence[str]) -> Call:
    """Turn the words of a command line into arguments.

    Returns:
        Positional and keyword arguments for `run`.

    Raises:
        RepeatedFlagError: If a flag is given twice.
        SystemExit: 0 after `--help` on stdout; 2 after a usage error on stderr.
    """
    flags = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    for flag in (f"--{p.name.replace('_', '-')}" for p in _named(signature)):
        if flags.count(flag) > 1:
            raise RepeatedFlagError(f"{flag} is given twice; write several values after one: {flag} A B")
    # No colours or box drawing. The option was added in tyro 1.0.
    getattr(tyro, "_experimental_options", {}).update(utf8_boxes=False, ansi_codes=False)
    return tyro.cli(_collector(signature), prog=signature.name, args=words)


def _collector(signature: Signature) -> Callable[..., Call]:
    """Make a function with the parameters of `run` that only returns its arguments.

    So tyro never calls a skill, and the traceback of a skill has no frames of tyro.
    """

    def collect(*args: Any, **kwargs: Any) -> Call:
        return args, kwargs

    parameters = [
        inspect.Parameter(p.name, p.kind, default=p.default, annotation=_annotation(p)) for p in _named(signature)
    ]
    collect.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # inspect reads this
    collect.__annotations__ = {p.name: p.annotation for p in parameters}
    lines = [f"    {p.name}: {p.doc}" for p in _named(signature) if p.doc]
    collect.__doc__ = "\n".join([signature.doc or signature.name, "", "Args:", *lines]) if lines else signature.doc
    return collect


def _named(signature: Signature) -> list[Parameter]:
    """The parameters that have a flag: all but `*args` and `**kwargs`."""
    return [p for p in signature.parameters if p.named]


def _annotation(parameter: Parameter) -> Any:
    """Choose the type that tyro gets for a parameter.

    tyro itself handles a bool and a dataclass. For all other types it gets `object` with a parsing rule: with another
    type, it would import typeguard (70 ms more) to check the default.
    """
    annotation = _bare(parameter.annotation)
    if annotation is bool or _is_record(annotation):
        return parameter.annotation
    return Annotated[object, _rule(annotation, parameter.default)]


def _rule(annotation: Any, default: Any) -> PrimitiveConstructorSpec[Any]:
    if not _is_words(annotation):
        return _json_rule(annotation)
    wanted: Any = annotation
    if default is None and get_origin(annotation) in _UNIONS:  # a missing flag means None
        wanted = Union[tuple(member for member in get_args(annotation) if member is not NoneType)]  # noqa: UP007
    rule = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(wanted, set()))
    if not isinstance(rule, PrimitiveConstructorSpec):
        return _json_rule(annotation)

    def default_words(value: Any) -> list[str]:  # for --help: the default may not be of the annotated type
        return rule.str_from_instance(value) if rule.is_instance(value) else [str(value)]

    return dataclasses.replace(rule, str_from_instance=default_words)


def _json_rule(annotation: Any) -> PrimitiveConstructorSpec[Any]:
    """Read one word as JSON, for any type that pydantic supports. Imports pydantic only if there is a word to read."""

    def read(words: list[str]) -> Any:
        from .typed_json import read_json

        return read_json(annotation, words[0])

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=read,
        is_instance=lambda _: True,
        str_from_instance=lambda value: [json.dumps(value, default=repr)],  # for --help
    )


def _bare(annotation: Any) -> Any:
    """Remove `Annotated`, and resolve the name of a `type X = ...`."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    alias = getattr(typing, "TypeAliasType", None)  # Python 3.12
    return _bare(annotation.__value__) if alias and isinstance(annotation, alias) else annotation


def _is_record(annotation: Any) -> bool:
    """True for a dataclass, TypedDict or pydantic model whose every field tyro can parse."""
    if not isinstance(annotation, type):
        return False
    if not (dataclasses.is_dataclass(annotation) or is_typeddict(annotation) or hasattr(annotation, "model_fields")):
        return False
    fields: Any = getattr(annotation, "model_fields", None)
    if fields is not None:  # pydantic: the type hints of a model include internal attributes
        types = [field.annotation for field in fields.values()]
    else:
        types = list(get_type_hints(annotation, include_extras=True).values())
    bare = [_bare(each) for each in types]
    return all(_is_words(each) or _is_record(each) for each in bare if get_origin(each) is not ClassVar)


def _is_words(annotation: Any) -> bool:
    """True for a single value, or a list, set or tuple of single values."""
    annotation = _bare(annotation)
    if get_origin(annotation) in _UNIONS:
        return all(_is_words(member) for member in get_args(annotation))
    if get_origin(annotation) in _LISTS:
        return all(_is_value(member) for member in get_args(annotation) if member is not ...)
    return _is_value(annotation)


def _is_value(annotation: Any) -> bool:
    annotation = _bare(annotation)
    if get_origin(annotation) in _UNIONS:
        return all(_is_value(member) for member in get_args(annotation))
    if get_origin(annotation) is Literal:
        return True
    return annotation is None or (isinstance(annotation, type) and issubclass(annotation, _VALUES))
