"""Convert the schema of an MCP tool to a Python signature with annotations, defaults and a docstring.

Schemas come from third parties. The docstring contains what a signature cannot express, and no schema raises an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any, Literal, Union

from rlm.text.clip import one_line
from rlm.text.identifiers import identifier

_TYPES: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
_DEEP = 5  # maximum levels of a type in an annotation
_MANY = 8  # maximum alternatives
_DESCRIPTION, _SCHEMA = 4_000, 2_000  # maximum characters

_TELLING = ("properties", "pattern", "minimum", "maximum", "minLength", "maxLength", "format", "additionalProperties")
"""Keys in the schema of a parameter that an annotation cannot express."""

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """A tool's Python signature. `names` maps parameters to the tool's names; `nullable` are those that accept None."""

    signature: Signature
    names: Mapping[str, str]
    nullable: frozenset[str]
    doc: str

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments to send, by the tool's names. None for an optional, not nullable parameter is not sent.

        Raises:
            TypeError: the arguments do not match the signature.
        """
        bound = self.signature.bind(*args, **kwargs).arguments
        more = bound.pop(_MORE, {})
        sent = {self.names[name]: value for name, value in bound.items() if self._is_given(name, value)}
        return sent | dict(more)

    def _is_given(self, name: str, value: object) -> bool:
        required = self.signature.parameters[name].default is Parameter.empty
        return value is not None or required or name in self.nullable


_MORE = "arguments"


def signature_of(tool: Schema) -> ToolSignature:
    schema = _table(tool.get("inputSchema"))
    properties, required = _table(schema.get("properties")), _words(schema.get("required"))
    ordered = [
        *(name for name in properties if name in required),
        *(name for name in properties if name not in required),
    ]
    names: dict[str, str] = {}
    parameters: list[Parameter] = []
    for name in ordered:
        python = identifier(name, {*names, _MORE} if schema.get("additionalProperties") else names)
        names[python] = name
        part = _table(properties[name])
        default = Parameter.empty if name in required else part.get("default")
        annotation = _annotation(part, schema, _DEEP)
        if default is None:
            annotation = _union([annotation, None])
        parameters.append(Parameter(python, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation))
    if schema.get("additionalProperties") or not _is_plain(schema):
        parameters.append(Parameter(_MORE, Parameter.VAR_KEYWORD, annotation=Any))
    nullable = frozenset(python for python, name in names.items() if _takes_null(_table(properties[name]), schema))
    result = _table(tool.get("outputSchema"))
    returns = _annotation(unwrapped(result), result, _DEEP) if result else Any
    return ToolSignature(Signature(parameters, return_annotation=returns), names, nullable, _doc(tool, names, schema))


def unwrapped(schema: Schema) -> Schema:
    """Return the schema of the value itself: by convention, SDKs wrap a value that is not an object in an object."""
    properties = _table(schema.get("properties"))
    title = schema.get("title")
    wraps = schema.get("x-fastmcp-wrap-result") or (isinstance(title, str) and title.endswith("Output"))
    return _table(properties["result"]) if wraps and list(properties) == ["result"] else schema


def _is_plain(schema: Schema) -> bool:
    """Return whether the schema's properties describe all of its arguments."""
    return not any(key in schema for key in ("anyOf", "oneOf", "allOf", "$ref", "patternProperties"))


def _table(value: object) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _words(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []


# ---- annotations


def _annotation(schema: Schema, root: Schema, depth: int) -> Any:
    schema = _resolved(schema, root)
    choices = schema["enum"] if isinstance(schema.get("enum"), list) else [schema["const"]] if "const" in schema else []
    if choices and len(choices) <= 4 * _MANY and all(isinstance(each, str | int | bool | None) for each in choices):
        return Literal[tuple(choices)]
    alternatives = next((schema[key] for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list)), None)
    if depth <= 0:
        return Any
    if alternatives:
        return _union([_annotation(_table(each), root, depth - 1) for each in alternatives[:_MANY]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union([_annotation({**schema, "type": each}, root, depth - 1) for each in kind])
    return _of_kind(kind, schema, root, depth)


def _of_kind(kind: object, schema: Schema, root: Schema, depth: int) -> Any:
    if kind == "array":
        return list[_annotation(_table(schema.get("items")), root, depth - 1)]  # type: ignore[misc]
    if kind == "object" or "properties" in schema:
        values = _table(schema.get("additionalProperties"))
        return dict[str, _annotation(values, root, depth - 1) if values else Any]  # type: ignore[misc]
    return _TYPES.get(kind, Any) if isinstance(kind, str) else Any


def _union(kinds: list[Any]) -> Any:
    if Any in kinds:
        return Any
    return Union[tuple(kinds)]  # noqa: UP007 - the types are known only at run time


def _resolved(schema: Schema, root: Schema) -> Schema:
    """Resolve a reference such as `#/$defs/…`. Nothing is fetched."""
    for _ in range(_DEEP):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        target: Any = root
        for step in reference[2:].split("/"):
            target = _table(target).get(step.replace("~1", "/").replace("~0", "~"))
        schema = {**_table(target), **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _takes_null(schema: Schema, root: Schema) -> bool:
    schema = _resolved(schema, root)
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    alternatives = [each for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list) for each in schema[key]]
    return "null" in kinds or any(_table(each).get("type") == "null" for each in alternatives)


# ---- the docstring


def _doc(tool: Schema, names: Mapping[str, str], schema: Schema) -> str:
    description = str(tool.get("description") or tool.get("title") or "").strip()[:_DESCRIPTION]
    properties = _table(schema.get("properties"))
    lines = [_about(python, name, _table(properties[name]), schema) for python, name in names.items()]
    parts = [description, *(["Args:\n" + "\n".join(lines)] if lines else [])]
    if not _is_plain(schema):
        parts.append(f"The arguments must fit this JSON Schema: {_short(schema)}")
    if result := _table(tool.get("outputSchema")):
        parts.append(f"Returns:\n    {_short(unwrapped(result))}")
    return "\n\n".join(filter(None, parts))


def _about(python: str, name: str, part: Schema, root: Schema) -> str:
    """Describe one parameter, with the parts of its schema that its annotation does not show."""
    resolved = _resolved(part, root)
    said = [one_line(str(resolved["description"]), _DESCRIPTION)] if resolved.get("description") else []
    if python != name:
        said.append(f"(it is sent as `{name}`)")
    nested = _inner(resolved, root)
    items = _resolved(_table(nested.get("items")), root)
    if any(key in each for each in (nested, items) for key in _TELLING):
        rest = {key: value for key, value in nested.items() if key not in ("description", "title", "default")}
        said.append(f"JSON Schema: {_short(_inlined(rest, root, _DEEP))}")
    return f"    {python}: {' '.join(said) or 'not described'}"


def _inner(schema: Schema, root: Schema) -> Schema:
    """Return the schema of an optional value, without its null alternative."""
    alternatives = schema.get("anyOf")
    if not isinstance(alternatives, list):
        return schema
    others = [_resolved(_table(each), root) for each in alternatives if _table(each).get("type") != "null"]
    return others[0] if len(others) == 1 else schema


def _inlined(value: Any, root: Schema, depth: int) -> Any:
    if isinstance(value, Mapping) and depth > 0:
        table = _resolved(value, root)
        return {key: _inlined(each, root, depth - 1) for key, each in table.items() if key not in ("title", "$defs")}
    return [_inlined(each, root, depth - 1) for each in value] if isinstance(value, list) else value


def _short(schema: Any) -> str:
    return one_line(json.dumps(schema, ensure_ascii=False, default=str), _SCHEMA)
