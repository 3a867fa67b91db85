"""Detect a tool call that a model wrote as text. Pure functions.

It happens if a server has no parser, or the wrong one, for the call format of its model.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator
from typing import Any

_THOUGHT = re.compile(
    r"^\s*(<(\w+:)?(think(ing)?|reasoning|scratch_pad)>|<\|START_THINKING\|>|\[THINK\]).*?"
    r"(</(\w+:)?(think(ing)?|reasoning|scratch_pad)>|<\|END_THINKING\|>|\[/THINK\])|^[^`]*?</think>",
    re.DOTALL,
)
_END_TOKEN = re.compile(
    r"<(\|[^<>|\n]*\||/(s|json|call|tools?|tool[_-]?calls?|function(_calls?)?)|end_of_turn|bot_end|end_code|end_action)>"
)
_CODE_BLOCK = re.compile(
    r"^[ \t]*(```+|~~~+)[^\n]*(\n.*?(^[ \t]*\1[`~]*[ \t]*$|\Z)|\Z)|^[ \t]*<pre\b.*?(</pre>|\Z)",
    re.DOTALL | re.MULTILINE,
)
_FENCED = re.compile(r"```[ ]?([\w-]*)[ \t]*\n?(.*?)\n?(?:```|\Z)", re.DOTALL)
_TOOL_FENCES = (
    "tool_code",
    "tool-code",
    "tool_call",
    "tool_calls",
    "tool_use",
    "function_call",
)  # Gemini, Gemma and others

_MARKERS = re.compile(
    r"(^[ ]{0,3}|<\|end\|>|<\|END_\w+\|>|</(\w+:)?think(ing)?>\s*)("  # more blanks are a code block of Markdown
    r"<[|｜]?/?tool_?calls?(_begin|_start|_section_begin)?[|｜]?>"  # Hermes, Qwen, GLM, Kimi, Phi, Jamba, Step
    r"|<TOOL_?CALLS?>|<\|START_ACTION\|>|<start_function_call>"  # Nemotron, Cohere, FunctionGemma
    r"|<function=|<<function>>|<function_calls?>"  # Llama, Qwen-Coder, Gorilla, Granite
    r"|<([\w-]+:|｜DSML｜)?(tool_calls?|invoke|tool_use|function_calls?)\b"  # MiniMax, Seed-OSS, DeepSeek, XML
    r"|\[TOOL_?(CALLS?|REQUEST)\]|<\|python_(tag|start)\|>|functools\[|✿FUNCTION✿:"  # Mistral, LM Studio, Llama, Phi
    r"|<｜tool▁calls?▁begin｜>|<\|action_start\|>"  # DeepSeek, InternLM
    r"|(<\|start\|>assistant|(<\|start\|>assistant)?<\|channel\|>\w+)\s+to=|to=[\w.]+\s*<\|channel\|>"  # gpt-oss
    r"|(assistant)?(commentary|analysis) to=functions\."
    r")"
    r"|(?<=[.?!)\w])assistant(commentary|analysis) to=functions\.",  # gpt-oss without its special tokens
    re.MULTILINE,
)
_PROSE = re.compile(r"(\.\.\.|…|[ ,;:()'\"–—-])+[A-Za-z]+,? [A-Za-z]+\b")
"""Follows a mark in an answer that explains it: `<tool_call> is the mark of Qwen`."""

_ENVELOPE = re.compile(
    r"[<\[|◁#*]{0,3}((assistant|tools?|functions?|calls?|plugin|json)[ _▁-]?){1,3}[>\]|▷#*:]{0,4}\s*(?=[{\[`])",
    re.IGNORECASE,
)
"""A prefix of JSON: `Tool call:` or `<tools>`."""

_LABELLED = (
    r"(?i)^[ ]{{0,3}}[*_#-]*[ ]?(Action|(Tool |Function )?Call)( \d)?[*_]*:[*_]*\s*"
    r"[`\"\[<]?(functions\.)?({names})[`\"\]>]?[ \t]*"
    r"([(\[{{]|\s*\n[ ]{{0,3}}[*_#-]*[ ]?(Action|Tool)?[ _]?Input( \d)?[*_]*:)"  # ReAct, NexusRaven
    r"|^[ ]{{0,3}}[*_]*(Tool|Function)( name)?[*_]*:[*_]*\s*[`\"]?({names})[`\"]?\s*\n"
    r"[ ]{{0,3}}[*_]*((Tool |Action )?Input|Arguments|Args|Parameters)[*_]*:[*_]*\s*(```\w*\s*)?\{{"
    r"|^[ ]{{0,3}}\[(tool|function)[ _]calls?:\s*({names})\b\s*[({{:,]"
    r"|^(>>>|<\|assistant\|>)[ ]?({names})\s*\n"  # Functionary, ChatGLM
    r"|^[ ]{{0,3}}<(function|tool)\s+name=[\"']({names})[\"']"
    r"|^[ ]{{0,3}}<(function|tool|tool_name|action)>\s*({names})\s*</"
    r"|^[ ]{{0,3}}<(execute_)?({names})(>([^\n]*</(execute_)?({names})>|[ \t]*$)|\s+\w+=[^\n]*>)"  # Cline, OpenHands
)
_ACTION = re.compile(r"^[*_]*Action[*_]*:[*_]*", re.MULTILINE)  # LangChain, Command R
_STRUCTURED = r"(^[ \t]*|[\"'=>.:<｜\[\]][ \t]*)({names})\b|\b({names})[ \t]*[\"'({{\[<]"
_EXPRESSION = (
    r"(call:|print\(|await |\w+ = |\[){{0,3}}(functions\.|default_api\.|tools\.)?({names})"
    r"(\(\s*(\{{|\w+\s*=|[\"'])|(:\d+)?:?\s*(```\w*\s*)?\{{\s*([\"'}}]|\w+:))"
)

_INTENT = re.compile(
    r"\b(I['’]ll|I will|I['’]m going to|I need to|I['’]d|I should|let me(?! know)|let['’]s)\b", re.IGNORECASE
)
_EXPLAINS = re.compile(
    r"\b(show|explain|example|format|syntax|look|write|writes|written|wrote|model|form|calls|like|such|Gemini|Gemma)\b",
    re.IGNORECASE,
)
_BODY = re.compile(r"^(```|[{\[]|(functions\.)?\w+\()", re.MULTILINE)

_ARGUMENTS = (
    "arguments",
    "parameters",
    "args",
    "input",
    "tool_input",
    "action_input",
    "kwargs",
    "params",
    "tool_arguments",
    "function_args",
)
_NAMES = ("name", "tool", "tool_name", "function", "function_name", "action", "recipient_name")
_WRAPPERS = (
    "tool_calls",
    "tool_call",
    "tool_uses",
    "function_call",
    "function",
    "action",
    "command",
    "toolUse",
    "functionCall",
)


def is_call(text: str, names: Collection[str]) -> bool:
    """Return whether the text is a call, or contains one, and does not only explain calls. `names` are the tools'."""
    text = _THOUGHT.sub("", text).strip()
    if _is_marked(text, names) or _is_labelled(text, names):
        return True
    enveloped = _ENVELOPE.match(text)
    body = text[enveloped.end() :] if enveloped else _body(text)
    while _END_TOKEN.fullmatch(body, begin := max(body.rfind("<"), 0)):
        body = body[:begin].rstrip()
    return _is_fenced(body, names) or _is_object(body, names) or _is_expression(body, names)


def _body(text: str) -> str:
    """Remove a sentence that announces a call, such as `I will run it.`, but not an explanation."""
    begin = _BODY.search(text)
    lead = text[: begin.start()] if begin else ""
    of_tools = text.startswith("```tool_", len(lead))
    announced = (of_tools or _INTENT.search(lead)) and not _EXPLAINS.search(lead)
    return text[len(lead) :] if announced else text


def _compiled(pattern: str, names: Collection[str]) -> re.Pattern[str]:
    return re.compile(pattern.format(names="|".join(map(re.escape, names))), re.MULTILINE)


def _without_blocks(text: str) -> str:
    """Replace the code blocks by newlines, so that all other positions stay the same."""
    return _CODE_BLOCK.sub(lambda block: "\n" * len(block[0]), text)


def _is_marked(text: str, names: Collection[str]) -> bool:
    """Whether a known mark starts a line outside of code blocks, and the name of a tool follows it."""
    last_name = max((found.end() for found in _compiled(_STRUCTURED, names).finditer(text)), default=0)
    return any(
        not _PROSE.match(text, mark.end()) and (mark.start() == 0 or mark.end() < last_name)
        for mark in _MARKERS.finditer(_without_blocks(text))
    )


def _is_labelled(text: str, names: Collection[str]) -> bool:
    """Whether `Action: ipython` and `Action Input: …` are on lines of their own, outside of a code block."""
    outside = _without_blocks(text)
    if _compiled(_LABELLED, names).search(outside):
        return True
    action = _ACTION.search(outside)
    if action is None:
        return False
    arguments = text[action.end() :].strip()
    block = _FENCED.match(arguments)
    return _is_object(block[2] if block else arguments, names)


def _is_fenced(text: str, names: Collection[str]) -> bool:
    """Whether the whole text is code blocks, and each of them is a call."""
    blocks = _FENCED.findall(text)
    if not blocks or _FENCED.sub("", text).strip():
        return False
    return all(
        kind in _TOOL_FENCES or _is_object(block, names) or _is_expression(block, names) for kind, block in blocks
    )


def _is_object(text: str, names: Collection[str]) -> bool:
    """Whether the whole text is JSON with names and arguments: an object, a list, or several objects in a row."""
    try:
        values = list(_values(text.strip()))
    except (ValueError, RecursionError):
        return False
    calls = [call for value in values for call in _calls(value)]
    return bool(calls) and all(_names_a_call(call, names) for call in calls)


def _values(text: str) -> Iterator[Any]:
    if text.startswith(("{'", "[{'")):
        yield _python_value(text)
        return
    decoder = json.JSONDecoder(strict=False)
    end = 0
    while end < len(text):
        value, end = decoder.raw_decode(text, end)
        yield value
        while end < len(text) and text[end] in ";, \t\n":
            end += 1


def _python_value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, MemoryError) as error:
        raise ValueError(text) from error


def _calls(value: Any) -> list[Any]:
    """Return the calls inside a wrapper such as `{"tool_calls": […]}`."""
    if isinstance(value, dict):
        for wrapper in _WRAPPERS:
            if isinstance(value.get(wrapper), list | dict):
                return _calls(value[wrapper])
    if isinstance(value, list):
        return [call for item in value for call in (_calls(item) if isinstance(item, dict) else [item])]
    return [value]


def _names_a_call(value: Any, names: Collection[str]) -> bool:
    if not isinstance(value, dict):
        return False
    if len(value) == 1 and isinstance(next(iter(value.values())), dict):
        return next(iter(value)) in names
    name = next((str(value[key]).removeprefix("functions.") for key in _NAMES if key in value), "")
    arguments = next((value[key] for key in _ARGUMENTS if key in value), None)
    exact = value.keys() <= {"name", "arguments", "id", "type"} and isinstance(arguments, dict)
    return arguments is not None and (name in names or (exact and name != ""))


def _is_expression(text: str, names: Collection[str]) -> bool:
    """Whether the text is only `ipython({"code": …})`, `functions.ipython(code=…)` or `ipython {"code": …}`."""
    return _compiled(_EXPRESSION, names).match(text) is not None and text.rstrip("]; `\n").endswith((")", "}"))
