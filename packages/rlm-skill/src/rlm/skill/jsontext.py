"""Read a word of a command line as JSON. Apart because pydantic takes 70 ms to import."""

from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError


def read_json(annotation: Any, text: str) -> Any:
    """Turn JSON text into a value of a type; of a type that pydantic does not know, into what the JSON says.

    Raises:
        ValueError: If it is no JSON, or not of that type, in one line.
    """
    try:
        return _adapter(annotation).validate_json(text)
    except ValidationError as error:
        problems = [f"{_place(problem['loc'])}{problem['msg']}" for problem in error.errors(include_url=False)]
        raise ValueError("; ".join(problems)) from None


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation)
    except PydanticUserError:
        return TypeAdapter(Any)


def _place(location: tuple[int | str, ...]) -> str:
    return f"at {'.'.join(map(str, location))}: " if location else ""
