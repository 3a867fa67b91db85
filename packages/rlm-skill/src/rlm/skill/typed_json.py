"""Functions that need pydantic, whose import takes 70 ms: schemas of signatures, and typed JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from .signature import Signature


def function_schema(signature: Signature) -> dict[str, Any]:
    """Build OpenAI's description of a function tool."""
    named = [p for p in signature.parameters if p.named]
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (p.name, "validation", _adapter(p.annotation)) for p in named
    ]
    schemas, definitions = TypeAdapter.json_schemas(inputs)  # one call, so types of the same name stay separate
    properties = {p.name: dict(schemas[p.name, "validation"]) for p in named}
    for p in named:
        properties[p.name] |= {"description": p.doc} if p.doc else {}
        properties[p.name] |= {} if p.required else {"default": to_jsonable_python(p.default, fallback=repr)}
    parameters = {
        "type": "object",
        "properties": properties,
        "required": [p.name for p in named if p.required],
        "additionalProperties": any(p.kind is p.kind.VAR_KEYWORD for p in signature.parameters),
        **definitions,
    }
    function = {"name": signature.name, "description": signature.doc, "parameters": parameters}
    return {"type": "function", "function": function}


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        adapter = TypeAdapter(annotation)
        adapter.json_schema()
    except PydanticUserError:  # a type without a JSON form is described as any value
        return TypeAdapter(Any)
    return adapter


def read_json(annotation: Any, text: str) -> Any:
    """Convert JSON text to a value of a type; for a type that pydantic does not support, to a plain JSON value.

    Raises:
        ValueError: If the text is no JSON, or not of that type; the message has one line.
    """
    try:
        adapter = TypeAdapter(annotation)
    except PydanticUserError:
        adapter = TypeAdapter(Any)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        problems = [
            (f"at {'.'.join(map(str, problem['loc']))}: " if problem["loc"] else "") + problem["msg"]
            for problem in error.errors(include_url=False)
        ]
        raise ValueError("; ".join(problems)) from None
