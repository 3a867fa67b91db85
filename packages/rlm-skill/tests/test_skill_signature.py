import dataclasses
import enum
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import say
from rlm.skill import Parameter, read_signature
from rlm.skill.docstring import read_docstring
from rlm.skill.signature import REQUIRED


def parameter(function: Callable[..., object], name: str) -> Parameter:
    return next(p for p in read_signature(function, "skill").parameters if p.name == name)


def schema_of(function: Callable[..., object]) -> dict[str, Any]:
    schema: dict[str, Any] = read_signature(function, "skill").schema()["function"]
    return schema


async def find(  # type: ignore[no-untyped-def]  # untold has no type on purpose
    query: str, limit: int = 10, *, places: list[Path] | None = None, untold="x"
) -> list[str]:
    """Find things.

    Second paragraph.

    Args:
        query: What to look for: words,
            or a phrase.
        limit (int, optional): How many at most.
        places: Where.

    Returns:
        What was found.
    """
    return [query, str(limit), str(places), str(untold)]


def test_a_run_is_read_into_a_value() -> None:
    signature = read_signature(say.run)
    assert signature.name == "say"
    assert signature.is_async
    assert signature.doc.startswith("Say a text, to everybody named.\n\nThis is the fixture")
    assert "Args" not in signature.doc
    assert [p.name for p in signature.parameters if p.required] == ["text"]
    assert signature.returns == str | dict[str, Any] | None


def test_parameters_know_their_type_default_and_words() -> None:
    assert parameter(find, "query").doc == "What to look for: words, or a phrase."
    assert parameter(find, "query").default is REQUIRED
    assert parameter(find, "limit").doc == "How many at most."
    assert (parameter(find, "limit").annotation, parameter(find, "limit").default) == (int, 10)
    assert parameter(find, "places").kind is inspect.Parameter.KEYWORD_ONLY
    assert (parameter(find, "untold").annotation, parameter(find, "untold").doc) == (Any, "")


def test_signatures_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_signature(find, "skill").name = "other"  # type: ignore[misc]  # the assignment is the test


def test_annotations_that_are_text_are_resolved() -> None:
    def run(value: "Path") -> "int":
        raise NotImplementedError(value)

    assert parameter(run, "value").annotation is Path
    assert read_signature(run, "skill").returns is int


def test_the_schema_is_a_function_tool_for_a_model() -> None:
    assert read_signature(find, "find").schema() == {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Find things.\n\nSecond paragraph.",
            "parameters": {
                "type": "object",
                "properties": {
                    "query": {"type": "string", "description": "What to look for: words, or a phrase."},
                    "limit": {"type": "integer", "description": "How many at most.", "default": 10},
                    "places": {
                        "anyOf": [{"type": "array", "items": {"type": "string", "format": "path"}}, {"type": "null"}],
                        "description": "Where.",
                        "default": None,
                    },
                    "untold": {"default": "x"},
                },
                "required": ["query"],
                "additionalProperties": False,
            },
        },
    }


def test_types_of_ones_own_are_defined_once_in_the_schema() -> None:
    parameters = read_signature(say.run).schema()["function"]["parameters"]
    assert parameters["properties"]["voice"]["$ref"] == "#/$defs/Voice"
    assert parameters["properties"]["voice"]["default"] == "alice"
    assert parameters["$defs"]["Voice"]["enum"] == ["alice", "bob"]
    assert {"Line", "Pace", "Voice"} == set(parameters["$defs"])


def test_two_types_of_one_name_are_distinguished() -> None:
    def colour(values: str) -> Any:
        return enum.Enum("Colour", values, module=f"colours_{values[0]}")

    first, second = colour("red"), colour("green blue")

    async def run(a: first, b: second) -> None: ...  # type: ignore[valid-type]  # made at run time

    parameters = schema_of(run)["parameters"]
    assert len(parameters["$defs"]) == 2
    assert parameters["properties"]["a"]["$ref"] != parameters["properties"]["b"]["$ref"]


def test_a_type_that_json_does_not_know_is_described_by_its_words_alone() -> None:
    class Opaque: ...

    async def run(thing: Opaque, count: int = 1) -> None:
        """Use it.

        Args:
            thing: A thing.
        """

    assert schema_of(run)["parameters"]["properties"] == {
        "thing": {"description": "A thing."},
        "count": {"type": "integer", "default": 1},
    }


@pytest.mark.parametrize(
    ("doc", "text", "args"),
    [
        (None, "", {}),
        ("Only words.", "Only words.", {}),
        (
            "Sum.\n\nArgs:\n  a: one\n  *rest: many\n  **more: most",
            "Sum.",
            {"a": "one", "rest": "many", "more": "most"},
        ),
        (
            "Sum.\n\nNote: inline\n\nArgs:\n    a: x\n\n    b (list[str]): y\nRaises:\n    E: z",
            "Sum.\n\nNote: inline",
            {"a": "x", "b": "y"},
        ),
        ("Args:\n    a: see Note:\n        deeper: still a", "", {"a": "see Note: deeper: still a"}),
        ("Sum.\n\nArgs:\n\nReturns:\n    a: b", "Sum.", {}),
    ],
)
def test_google_docstrings_are_read(doc: str | None, text: str, args: dict[str, str]) -> None:
    read = read_docstring(doc)
    assert (read.text, read.args) == (text, args)


def test_a_docstrings_summary_is_its_first_paragraph_on_one_line() -> None:
    assert read_docstring("One\ntwo.\n\nThree.").summary == "One two."
