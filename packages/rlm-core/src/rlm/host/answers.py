"""Answers of agents: the required form, and answers that a cell gives."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from rlm.broker.answers import AnswerType
from rlm.broker.protocol import AnswerFile, AnswerRequest
from rlm.core.agent import AgentResult
from rlm.core.budget import Stop
from rlm.core.task import RunResult
from rlm.errors import AgentError, ConfigError
from rlm.process import files
from rlm.text.clip import clip
from rlm.text.strict_json import refuse_constant

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError

LARGEST = 100 << 20
"""The longest answer, in bytes."""
_IN_LINE = 1 << 20  # characters of an answer that is sent to a kernel over the socket
_PROBLEMS, _PROBLEM = 5, 300


class AnswerSchema:
    """A JSON Schema that an answer must fit. References to other documents are not fetched."""

    def __init__(self, schema: object, parse: Callable[[str], Any] = json.loads) -> None:
        """`parse` creates the value from JSON that fits the schema. It may raise ValueError for further faults.

        Raises:
            ConfigError: `schema` is no JSON Schema.
        """
        import jsonschema_rs  # late import: most runs have no schema

        if not isinstance(schema, dict | bool):
            raise ConfigError(f"A JSON Schema is an object, not a {type(schema).__name__}.")
        self.schema = schema
        self.parse = parse
        try:
            self._validator = jsonschema_rs.validator_for(schema, retriever=_not_fetched)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            reason = clip(str(error).splitlines()[0], _PROBLEM)
            raise ConfigError(f"The JSON Schema for the answer is invalid: {reason}") from None

    @classmethod
    def of_type(cls, wanted: object) -> AnswerSchema:
        """Create the schema of a type, or take a JSON Schema as it is.

        Raises:
            ConfigError: `wanted` is neither a JSON Schema nor a type that has one.
        """
        kind = AnswerType.of(wanted)
        return cls(kind.schema, kind.parse)

    @classmethod
    def from_text(cls, text: str | bytes) -> AnswerSchema:
        """Read a schema from JSON text.

        Raises:
            ConfigError: the text is no JSON, or no JSON Schema.
        """
        try:
            return cls(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"The JSON Schema for the answer is not JSON: {error}.") from None

    @property
    def text(self) -> str:
        """The schema as JSON, for a prompt."""
        return json.dumps(self.schema, ensure_ascii=False)

    def check(self, value: object) -> None:
        """Check a value against the schema.

        Raises:
            ValueError: the message says where the value is wrong, and why.
        """
        problems = list(map(_problem, islice(self._validator.iter_errors(value), _PROBLEMS)))
        if problems:
            raise ValueError("; ".join(problems))

    def find(self, text: str) -> str:
        """Return the JSON in the model's text, with or without a code block.

        Raises:
            ValueError: the text is no JSON, or the JSON does not fit.
        """
        found = text.strip()
        if found.startswith("```") and found.endswith("```"):
            found = found[3:-3].partition("\n")[2].strip()
        self.check(_loads(found))
        self.parse(found)
        return found


def _not_fetched(uri: str) -> Any:
    raise ValueError(f"{uri} is not in the schema, and rlm fetches nothing")


def _problem(error: ValidationError) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    return f"{clip(f'${path}', _PROBLEM)}: {clip(error.message, _PROBLEM)}"


def _loads(text: str | bytes) -> Any:
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error}); write the JSON alone, without any other text") from None


@dataclass(frozen=True, slots=True)
class CellAnswer:
    """A cell's answer: JSON text with its value, or the file of a pickle, which the host never loads."""

    text: str
    value: Any
    pickle: Path | None = None


class AnswerStore:
    """Receives the answer that a cell gives, and keeps it until the agent ends with it."""

    def __init__(self, folder: Path, host_folder: Path, schema: AnswerSchema | None, *, pickles: bool) -> None:
        """`folder` is the agent's, where cells write. `pickles`: an answer may be a pickle."""
        self._folder = folder
        self._host_folder = host_folder
        self._schema = schema
        self._pickles = pickles and schema is None
        self.pending: CellAnswer | None = None
        self.taken: CellAnswer | None = None
        """The answer with which the agent has ended."""

    async def store(self, request: AnswerRequest) -> None:
        """Store the answer of a cell. The cell is not trusted, so everything is checked.

        Raises:
            AgentError: the answer does not have the required form, or is too long.
        """
        if request.file.kind == "pickle" and not self._pickles:
            raise AgentError(
                f"the answer must be what JSON can hold (texts, numbers, lists, dicts); this is {request.file.about}"
            )
        path = take_from_cell(self._folder, request.file.name, self._host_folder, "answer")
        if request.file.kind == "pickle":
            pending = CellAnswer(request.file.about, None, path)
        else:
            pending = await asyncio.to_thread(self._read, path)
        self.discard()
        self.pending = pending

    def _read(self, path: Path) -> CellAnswer:
        try:
            raw = files.read(path, limit=LARGEST).decode()
            value = _loads(raw)
            if self._schema:
                self._schema.check(value)
                value = self._schema.parse(raw)
        except OSError as error:
            raise AgentError(f"the answer cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise AgentError(f"this is not the answer that was asked for: {error}") from None
        finally:
            files.remove(path)
        return CellAnswer(value if isinstance(value, str) and not self._schema else raw, value)

    def take(self) -> CellAnswer:
        """Return the stored answer, which becomes the agent's answer."""
        assert self.pending is not None
        self.taken, self.pending = self.pending, None
        return self.taken

    def value_of(self, result: AgentResult) -> Any:
        """Return the answer as an object: the value that a cell gave, if this is its answer, or the parsed text."""
        pending = self.taken
        if pending is not None and pending.text == result.answer:
            return pending.value if pending.pickle is None else pending.pickle
        return self._schema.parse(result.answer) if self._schema and result.stop is Stop.DONE else None

    def discard(self) -> None:
        """Drop the stored answer, with its file."""
        pending, self.pending = self.pending, None
        if pending is not None and pending.pickle is not None:
            files.remove(pending.pickle)


def take_from_cell(folder: Path, name: str, host_folder: Path, what: str, *, keep: bool = False) -> Path:
    """Move a cell's file from its agent's folder to the host's; with `keep`, create a hard link to it there.

    After that no cell can replace it.

    Raises:
        AgentError: it is no plain file in that folder.
    """
    path = host_folder / f"{what}-{token_hex(8)}"
    source = folder / Path(name).name
    try:
        if keep:
            os.link(source, path, follow_symlinks=False)  # by path: in our private folder
        else:
            source.rename(path)  # by path: as above
        os.close(files.open_file(path))  # from here on, no cell can replace it
    except OSError:
        raise AgentError(f"the {what} is not a file in this agent's runtime folder") from None
    return path


def hand_over(result: RunResult, folder: Path) -> RunResult:
    """Prepare a sub-agent's result for its parent's kernel: pickles, patches, long answers go to files in `folder`."""
    if result.patch:
        patch = f"patch-{token_hex(8)}"
        files.write_new(folder / patch, result.patch.encode("utf-8", "surrogateescape"))
        result = replace(result, patch=patch)
    name = f"answer-{token_hex(8)}"
    if isinstance(result.value, Path):
        result.value.rename(folder / name)  # by path: in our private folder
        return replace(result, value=AnswerFile(name, "pickle"))
    if len(result.answer) <= _IN_LINE:
        return result
    text = result.answer if result.value is not None and result.value != result.answer else json.dumps(result.answer)
    with os.fdopen(files.create(folder / name), "w", encoding="utf-8") as file:
        file.write(text)
    return replace(result, answer="", value=AnswerFile(name, "json"))


def no_fit(problem: str) -> AgentError:
    """Return the error for an answer that the model has not corrected."""
    return AgentError(f"the answer does not fit the schema: {problem}", Stop.SCHEMA)


def response_format(schema: AnswerSchema) -> dict[str, Any] | None:
    """Return the parameter that asks OpenAI's API for such an answer; None if the schema is not of an object."""
    if not isinstance(schema.schema, dict) or schema.schema.get("type") != "object":
        return None
    format = {"name": "answer", "schema": schema.schema, "strict": _is_strict(schema.schema)}
    return {"response_format": {"type": "json_schema", "json_schema": format}}


def _is_strict(schema: object) -> bool:
    """Whether the schema meets OpenAI's conditions for `strict`, with which the model cannot miss the schema."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if "properties" in schema or schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or sorted(schema.get("required", ())) != sorted(schema.get("properties", ())):
            return False
    return all(map(_is_strict, schema.values()))
