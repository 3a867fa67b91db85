"""Tell a tool call that a model wrote as text. Pure.

It happens where a server has no parser, or the wrong one, for the form in which its model was trained to call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

_THOUGHT = re.compile(r"^\s*<think(ing)?>.*?</think(ing)?>", re.DOTALL)
_FENCE = re.compile(r"^```[\w-]*\s*\n(.*)\n?```$", re.DOTALL)
_MARKERS = re.compile(
    r"(^|\n)\s*("
    r"<\|?/?tool_?calls?(_begin|_start|_section_begin)?\|?>"  # Hermes, Qwen, GLM, Kimi, InternLM
    r"|<function(=|_calls?>)|<(\w+:)?(tool_call|invoke|tool_use|function_calls)\b"  # Llama, MiniMax, XML
    r"|\[TOOL_?CALLS?\]|<\|python_tag\|>|functools\["  # Mistral, Llama, Phi
    r"|<｜tool▁calls?▁begin｜>|<\|action_start\|>|<\|channel\|>commentary to="  # DeepSeek, InternLM, gpt-oss
    r")"
)
_ARGUMENTS = ("arguments", "parameters", "args", "input", "tool_input", "action_input")
_NAMES = ("name", "tool", "tool_name", "function", "action", "recipient_name")


def is_call(text: str, names: Collection[str]) -> bool:
    """Whether the text is a call, or holds one, and no answer that speaks of calls. `names` are the tools'."""
    text = _THOUGHT.sub("", text).strip()
    return _is_marked(text, names) or _is_object(text, names) or _is_expression(text, names)


def _is_marked(text: str, names: Collection[str]) -> bool:
    """One of the known marks at the beginning of a line and outside of a code block, with a tool's name behind it."""
    for mark in _MARKERS.finditer(text):
        quoted = text.count("```", 0, mark.start()) % 2 == 1
        if not quoted and (mark.start() == 0 or any(name in text[mark.end() :] for name in names)):
            return True
    return False


def _is_object(text: str, names: Collection[str]) -> bool:
    """The whole answer is JSON with a name and arguments, fenced or bare."""
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return False
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    calls = value if isinstance(value, list) else [value]
    return bool(calls) and all(_names_a_call(call, names) for call in calls)


def _names_a_call(value: Any, names: Collection[str]) -> bool:
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = next((str(value[key]).removeprefix("functions.") for key in _NAMES if key in value), "")
    arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
    exact = value.keys() <= {"name", "arguments", "id", "type"} and isinstance(arguments, dict)
    return arguments is not None and (name in names or (exact and name != ""))


def _is_expression(text: str, names: Collection[str]) -> bool:
    """`ipython({"code": …})` or `functions.ipython(code=…)`, and nothing else."""
    found = re.match(r"(?:functions\.|\[)?(\w+)\(\s*(\{|\w+\s*=)", text)
    return found is not None and found[1] in names and text.rstrip("]").endswith(")")
