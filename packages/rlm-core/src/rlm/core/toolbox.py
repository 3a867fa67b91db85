"""The tools of one agent: find a tool, check the arguments, run it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Any

from rlm.core.history import History
from rlm.core.messages import Outcome, Schema, ToolCall
from rlm.core.ports import Tool
from rlm.errors import BadArguments, ToolError
from rlm.text.clip import clip
from rlm.text.strict_json import refuse_constant

_CUT_OFF = (
    "are incomplete: your message was cut off at the provider's length limit, so nothing was run. Send less at once, "
    "for instance write a long file in several calls"
)
_QUOTED = 300  # characters of the model's text

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class Toolbox:
    """Tools by name, in the given order."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {tool.name: (tool, tool.schema()) for tool in tools}
        self.schemas = tuple(schema for _, schema in self._tools.values())
        """The schemas of the tools. They never change, because the provider caches the prompt that contains them."""

    async def run(self, call: ToolCall, history: History, *, cut_off: bool = False) -> Outcome:
        """Run one call. An error that the model can fix becomes a failed outcome.

        `cut_off`: the provider ended the message at its length limit.
        """
        if call.name not in self._tools:
            names = ", ".join(self._tools) or "none"
            return Outcome(f"There is no tool {call.name!r}. The tools are: {names}.", ok=False)
        tool, schema = self._tools[call.name]
        try:
            return await tool.run(arguments(call, schema, cut_off=cut_off), history)
        except ToolError as error:
            return Outcome(str(error), ok=False)


def arguments(call: ToolCall, schema: Schema, *, cut_off: bool = False) -> dict[str, Any]:
    """Return the arguments of a call as an object that fits the tool's schema.

    Raises:
        BadArguments: the message says what is right.
    """
    try:
        values = json.loads(call.arguments, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        what = _CUT_OFF if cut_off else f"are not JSON ({error})"
        raise BadArguments(_not_an_object(call, what, schema)) from None
    if not isinstance(values, dict):
        raise BadArguments(_not_an_object(call, "must be one JSON object", schema))
    required, properties = schema["parameters"].get("required", ()), schema["parameters"]["properties"]
    values = {
        name: _convert(value, properties[name]["type"]) if name in properties else value
        for name, value in values.items()
        if value is not None or name in required  # an optional argument that is null counts as left out
    }
    if problem := _problem(values, required, properties):
        raise BadArguments(f"{call.name}: {problem} {usage(schema)}")
    return values


def _not_an_object(call: ToolCall, what: str, schema: Schema) -> str:
    """Include the model's text. The conversation holds an empty object instead: some providers accept nothing else."""
    return f"The arguments of {call.name} {what}. {usage(schema)} You wrote: {clip(call.arguments, _QUOTED)}"


def _convert(value: Any, kind: str) -> Any:
    """Convert a number or boolean that is written as text, and an integer that is written as a float."""
    if kind in ("integer", "number", "boolean") and isinstance(value, str):
        with suppress(ValueError):
            meant = json.loads(value.strip().lower(), parse_constant=refuse_constant)
            value = meant if isinstance(meant, int | float) else value
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def usage(schema: Schema) -> str:
    """Return one line that says how to call the tool."""
    parameters = schema["parameters"]
    required = parameters.get("required", ())
    parts = [
        f"{name}: {spec['type']}" if name in required else f"[{name}: {spec['type']}]"
        for name, spec in parameters["properties"].items()
    ]
    return f"It takes {schema['name']}({', '.join(parts)})."


def _problem(values: dict[str, Any], required: Collection[str], properties: dict[str, Schema]) -> str:
    """Return what is wrong with the arguments; empty if they fit."""
    for name in values:
        if name not in properties:
            close = difflib.get_close_matches(name, properties, 1)
            return f"unknown argument {name!r}{f', did you mean {close[0]!r}?' if close else '.'}"
    for name in required:
        if name not in values:
            return f"the argument {name!r} is missing."
    for name, value in values.items():
        kind = properties[name]["type"]
        # bool is an int in Python, but not in JSON
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
            return f"{name!r} must be of type {kind}, not {type(value).__name__}."
    return ""
