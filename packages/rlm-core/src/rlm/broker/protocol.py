"""The protocol between a cell and its host: JSON objects over a socket, one per line.

A connection is one call. The cell sends a request, one line with a version, a verb and the agent's token. The host
answers with one line, the result or an `error`; for a `call`, lines of `progress` may precede it. During a `run` the
cell may send the line `cancel`. Closing the connection cancels the run as well, and the cell then gets no answer.

The host does not trust a request: it validates all fields and never unpickles. It refuses an unknown verb, version or
field, and the error lists the valid ones. The form of an `error` is the same in all versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from msgspec import structs

from rlm.core.budget import Budget, Stop
from rlm.core.messages import Usage
from rlm.core.task import RunResult
from rlm.errors import AgentError
from rlm.text import strict_json
from rlm.text.encodings import join_surrogates

LINE = 16 << 20
"""Maximum bytes of a request: more than any model reads. Data is passed in files."""

ANSWER = 64 << 20
"""Maximum bytes of an answer."""

VERSION = 1
"""A kernel imports this module when a cell first needs it. After an update of rlm, it may differ from its host's."""

OPTIONS = ("model", "tools", "max_turns", "cwd", "system_prompt", "timeout", "mcp", "isolation")
"""Settings of a sub-agent that a cell may choose. They are sent as texts, and parsed like the values of flags."""

ContextKind = Literal["pickle", "file"]
_CONTEXT_KINDS: dict[str, ContextKind] = {"pickle": "pickle", "file": "file"}
AnswerKind = Literal["json", "pickle"]
_ANSWER_KINDS: dict[str, AnswerKind] = {"json": "json", "pickle": "pickle"}
_LONG = ("task", "system_prompt", "schema", "prompt", "system", "image", "arguments")
"""Texts that are limited only by the length of the line."""
_SHORT = 8_192
"""Maximum characters of any other text: a path has at most 4,096 bytes."""
_STRINGS, _BETWEEN = 64, 4_096  # limits of a request: strings (it has about 30), and bytes between them
_ARGUMENTS, _BETWEEN_ARGUMENTS = 200_000, 2 << 20  # the same for a tool's arguments, which may be a table of numbers
_QUOTED = 4_000  # maximum characters of an error's reason
_PROGRESS = 200  # maximum characters of a progress message
_NAME = 80  # maximum characters of an unknown name in an error
_SURROGATE = re.compile("[\ud800-\udfff]")


class Verb(StrEnum):
    RUN = "run"
    ANSWER = "answer"
    LLM = "llm"
    BUDGET = "budget"
    TOOLS = "tools"
    CALL = "call"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class ContextFile:
    """The file `name` in the agent's runtime folder. It is a pickle, or, if `kind` is `file`, the context as text."""

    name: str
    kind: ContextKind = "pickle"
    about: str = ""
    """One line for the prompt."""
    digest: str = ""
    """Hash of the content. A later run uses it to recognise the same call."""
    modules: str = ""
    """Modules that the sub-agent's kernel imports at its start, separated by commas. The host checks them."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Run a sub-agent. Options that are not set are inherited. `schema` is the JSON Schema of its answer, as text."""

    token: str
    task: str
    options: Mapping[str, str] = field(default_factory=dict)
    context: ContextFile | None = None
    schema: str = ""

    def line(self) -> bytes:
        fields: dict[str, Any] = {"token": self.token, "task": self.task, "options": dict(self.options)}
        fields |= {"context": asdict(self.context)} if self.context else {}
        return _line(Verb.RUN, fields | ({"schema": self.schema} if self.schema else {}))


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """The file `name` in a runtime folder: an answer as JSON, or as a pickle if JSON cannot represent it."""

    name: str
    kind: AnswerKind = "json"
    about: str = ""
    """One line that describes a pickle, for readers who do not open it."""


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """End the run of the cell's agent with this answer, after the cell has ended."""

    token: str
    file: AnswerFile

    def line(self) -> bytes:
        return _line(Verb.ANSWER, {"token": self.token, "file": asdict(self.file)})


@dataclass(frozen=True, slots=True)
class LlmRequest:
    """One model call. An empty `model` means the model of the agent's sub-agents. `schema`: a JSON Schema, as text."""

    token: str
    prompt: str
    model: str = ""
    system: str = ""
    schema: str = ""
    images: tuple[str, ...] = ()
    """The URLs of pictures."""

    def line(self) -> bytes:
        return _line(Verb.LLM, asdict(self))


@dataclass(frozen=True, slots=True)
class BudgetRequest:
    """Ask how much of its limits the tree has used, and how much is left."""

    token: str

    def line(self) -> bytes:
        return _line(Verb.BUDGET, asdict(self))


@dataclass(frozen=True, slots=True)
class ToolsRequest:
    """Ask which tools an MCP server has."""

    token: str
    server: str

    def line(self) -> bytes:
        return _line(Verb.TOOLS, asdict(self))


@dataclass(frozen=True, slots=True)
class CallRequest:
    """Call a tool of an MCP server. `arguments`: a JSON object, as text."""

    token: str
    server: str
    tool: str
    arguments: str = "{}"

    def line(self) -> bytes:
        return _line(Verb.CALL, asdict(self))

    def values(self) -> dict[str, Any]:
        """Return the arguments.

        Raises:
            ValueError: they are not a JSON object, or are too large for the host.
        """
        values = strict_json.loads(self.arguments.encode(), strings=_ARGUMENTS, between=_BETWEEN_ARGUMENTS)
        if not isinstance(values, dict):
            raise ValueError("the arguments are not an object")
        return values


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """End the run of this connection."""

    def line(self) -> bytes:
        return _line(Verb.CANCEL, {})


Request = RunRequest | AnswerRequest | LlmRequest | BudgetRequest | ToolsRequest | CallRequest | CancelRequest


def _line(verb: Verb, fields: Mapping[str, Any]) -> bytes:
    """Encode a request in UTF-8. A lone surrogate, which UTF-8 cannot encode, becomes `\ufffd`.

    Raises:
        AgentError: the line is longer than the host accepts.
    """
    text = json.dumps({"version": VERSION, "verb": verb, **fields}, ensure_ascii=False)
    line = join_surrogates(text).encode() + b"\n"
    if len(line) > LINE:
        raise AgentError(too_long(len(line)))
    return line


def too_long(size: int) -> str:
    return f"the request has {size:,} bytes; the limit is {LINE:,}: pass data as `context`, which uses a file"


def parse_request(line: bytes) -> Request:
    """Parse a line from a kernel.

    Raises:
        AgentError: it is not a valid request. The reason names the valid values.
    """
    try:
        sent = strict_json.loads(line, strings=_STRINGS, between=_BETWEEN)
        if not isinstance(sent, dict):
            raise ValueError("it is not an object")
        return _request(sent)
    except ValueError as error:
        raise AgentError(f"the request is refused: {error}") from None


def _request(sent: dict[str, Any]) -> Request:
    version, verb = sent.pop("version", None), sent.pop("verb", None)
    if type(version) is not int or version != VERSION:
        raise ValueError(
            f"its protocol version is {str(version)[:_NAME]}, and the host of this run uses {VERSION}. "
            "If rlm was reinstalled during the run, start a new run"
        )
    if verb == Verb.RUN:
        return _run_request(sent)
    if verb == Verb.ANSWER:
        return _answer_request(sent)
    if verb == Verb.LLM:
        return _llm_request(sent)
    if verb == Verb.BUDGET:
        _only(sent, ("token",), "field of budget")
        return BudgetRequest(**_texts({"token": sent.get("token")}))
    if verb in (Verb.TOOLS, Verb.CALL):
        kind = ToolsRequest if verb == Verb.TOOLS else CallRequest
        names = tuple(each.name for each in fields(kind))
        _only(sent, names, f"field of {verb}")
        return kind(**_texts({name: sent.get(name) for name in names}))
    if verb == Verb.CANCEL:
        _only(sent, (), "field of cancel")
        return CancelRequest()
    raise ValueError(f"unknown verb {str(verb)[:_NAME]!r}; valid: {', '.join(Verb)}")


def _run_request(sent: Mapping[str, Any]) -> RunRequest:
    _only(sent, ("token", "task", "options", "context", "schema"), "field of run")
    options = _object(sent, "options")
    if unknown := [name for name in options if name not in OPTIONS]:
        raise AgentError(f"unknown argument {unknown[0][:_NAME]!r}; valid: {', '.join(OPTIONS)} and context")
    texts = _texts({"token": sent.get("token"), "task": sent.get("task"), "schema": sent.get("schema", "")})
    context = _context(sent) if "context" in sent else None
    return RunRequest(texts["token"], texts["task"], _texts(options), context, texts["schema"])


def _context(sent: Mapping[str, Any]) -> ContextFile:
    fields = dict(_object(sent, "context"))
    more = _texts({name: fields.pop(name, "") for name in ("digest", "modules")})
    return ContextFile(*_file({"context": fields}, "context", _CONTEXT_KINDS), more["digest"], more["modules"])


def _answer_request(sent: Mapping[str, Any]) -> AnswerRequest:
    _only(sent, ("token", "file"), "field of answer")
    texts = _texts({"token": sent.get("token")})
    return AnswerRequest(texts["token"], AnswerFile(*_file(sent, "file", _ANSWER_KINDS)))


def _llm_request(sent: Mapping[str, Any]) -> LlmRequest:
    names = ("token", "prompt", "model", "system", "schema")
    _only(sent, (*names, "images"), "field of llm")
    images = sent.get("images", [])
    if not isinstance(images, list):
        raise ValueError("'images' is not a list")
    urls = tuple(_texts({"image": image})["image"] for image in images)
    if foreign := [url for url in urls if not url.startswith(("data:image/", "https://", "http://"))]:
        raise ValueError(f"{foreign[0][:_NAME]!r} is not the URL of a picture")
    texts = _texts({name: sent.get(name, "" if name != "prompt" else None) for name in names})
    return LlmRequest(**texts, images=urls)


_K = TypeVar("_K", bound=str)


def _file(sent: Mapping[str, Any], field: str, kinds: Mapping[str, _K]) -> tuple[str, _K, str]:
    """Validate the name, kind and description of a file in the runtime folder."""
    names = ("name", "kind", "about")
    fields = _object(sent, field)
    _only(fields, names, f"field of {field}")
    texts = _texts({name: fields.get(name) for name in names})
    kind = kinds.get(texts["kind"])
    if kind is None:
        raise ValueError(f"unknown kind {texts['kind'][:_NAME]!r} of {field}; valid: {', '.join(kinds)}")
    if texts["name"] in ("", ".", "..") or "/" in texts["name"]:
        raise ValueError(f"{texts['name'][:_NAME]!r} is not the name of a file")
    return texts["name"], kind, texts["about"]


def _object(sent: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = sent.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} is not an object")
    return value


def _only(sent: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    if unknown := [name for name in sent if name not in known]:
        there = f"valid: {', '.join(known)}" if known else "it has none"
        raise ValueError(f"unknown {what} {unknown[0][:_NAME]!r}; {there}")


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Convert the values to texts.

    Raises:
        ValueError: a value is neither text nor number, is too long, or contains a lone surrogate.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{name[:_NAME]!r} is not a text")
        text = str(value)
        if len(text) > _SHORT and name not in _LONG:
            raise ValueError(f"{name[:_NAME]!r} has {len(text):,} characters, and the limit is {_SHORT:,}")
        if _SURROGATE.search(text):
            raise ValueError(f"{name[:_NAME]!r} contains a lone surrogate, which is not valid text")
    return {name: str(value) for name, value in values.items()}


# ---- the host's answers: lines of JSON with a type and a version


def _answer_line(kind: str, fields: Mapping[str, Any], what: str = "answer") -> bytes:
    """Encode an answer.

    Raises:
        AgentError: the line is longer than a kernel accepts.
    """
    line = json.dumps({"type": kind, "version": VERSION, **fields}).encode() + b"\n"
    if len(line) > ANSWER:
        raise AgentError(f"the {what} has {len(line):,} bytes; the limit of a kernel is {ANSWER:,}")
    return line


def accepted_line() -> bytes:
    return _answer_line("accepted", {})


def budget_line(budget: Budget) -> bytes:
    return _answer_line("budget", structs.asdict(budget) | {"spent": asdict(budget.spent)})


def parse_budget(line: bytes) -> Budget:
    """Parse the host's answer to a `BudgetRequest`.

    Raises:
        AgentError: the host refused, or has ended.
    """
    sent = accepted(line)
    values: dict[str, Any] = {name: sent[name] for name in Budget.__struct_fields__}
    values["spent"] = Usage(**sent["spent"])
    return Budget(**values)


def text_line(text: str) -> bytes:
    return _answer_line("text", {"text": text})


def tools_line(instructions: str, tools: Sequence[Mapping[str, Any]]) -> bytes:
    return _answer_line("tools", {"instructions": instructions, "tools": list(tools)}, "list of tools")


def called_line(result: Mapping[str, Any]) -> bytes:
    return _answer_line("called", {"result": dict(result)}, "result")


def progress_line(done: float, total: float | None, message: str) -> bytes:
    return _answer_line("progress", {"done": done, "total": total, "message": message[:_PROGRESS]})


def parse_progress(line: bytes) -> tuple[float, float | None, str] | None:
    """Parse the progress of a call: done, total, message. None if the line is the answer."""
    if not line.startswith(b'{"type": "progress"'):
        return None
    sent = json.loads(line)
    return sent["done"], sent["total"], sent["message"]


def result_line(result: RunResult) -> bytes:
    """Encode a result.

    `value` is null, `text` (the answer is the value), `json` (the answer is the value as JSON), or a file. `patch` is
    the name of a file, or empty.
    """
    value = "text" if isinstance(result.value, str) else None if result.value is None else "json"
    fields = {
        "answer": result.answer,
        "stop": result.stop,
        "turns": result.turns,
        "session_dir": str(result.session_dir),
        "usage": asdict(result.usage),
        "value": asdict(result.value) if isinstance(result.value, AnswerFile) else value,
        "replayed": result.replayed,
        "patch": result.patch,
    }
    return _answer_line("result", fields)


def error_line(reason: str, stop: str = Stop.ERROR) -> bytes:
    return json.dumps({"type": "error", "reason": reason[:_QUOTED], "stop": stop}).encode() + b"\n"


def parse_answer(line: bytes) -> RunResult:
    """Parse the host's answer to a `RunRequest`.

    Raises:
        AgentError: the child failed or was refused, or the host has ended.
    """
    sent = accepted(line)
    answer, value = sent["answer"], sent["value"]
    match value:
        case "text":
            value = answer
        case "json":
            value = json.loads(answer)
        case dict():
            value = AnswerFile(**value)
    usage, folder = Usage(**sent["usage"]), Path(sent["session_dir"])
    stop, turns, replayed, patch = Stop(sent["stop"]), sent["turns"], sent["replayed"], sent["patch"]
    return RunResult(answer, stop, usage, turns, folder, value=value, replayed=replayed, patch=patch)


def accepted(line: bytes) -> dict[str, Any]:
    """Parse an answer of the host that is not an error.

    Raises:
        AgentError: the host refused, or has ended.
    """
    if not line:
        raise AgentError("the host closed the connection", Stop.CANCELLED)
    sent: dict[str, Any] = json.loads(line)
    if sent["type"] == "error":
        raise AgentError(sent["reason"], sent["stop"])
    return sent
