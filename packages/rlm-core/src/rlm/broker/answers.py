"""Answers in cells: the type of an answer, and its transfer between two kernels through the host."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm.broker.payload import pack
from rlm.broker.protocol import AnswerFile
from rlm.core.budget import Stop
from rlm.core.task import RunResult
from rlm.errors import AgentError, ConfigError
from rlm.process import files
from rlm.text.encodings import join_surrogates

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

_PROBLEMS = 5  # that are reported


@dataclass(frozen=True, slots=True)
class AnswerType:
    """A type as JSON Schema, and the function that parses JSON as this type. `parse` raises ValueError."""

    schema: dict[str, Any]
    parse: Callable[[str], Any] = json.loads

    @classmethod
    def of(cls, wanted: object) -> AnswerType:
        """Create it from a JSON Schema (a mapping), or from any type that pydantic's TypeAdapter takes.

        Raises:
            ConfigError: `wanted` is neither.
        """
        if isinstance(wanted, Mapping):
            return cls(dict(wanted))
        from pydantic import PydanticUserError, TypeAdapter  # lazy: it takes 100 ms

        kind: Any = wanted
        try:
            adapter = TypeAdapter(kind)
            return cls(adapter.json_schema(), partial(_validated, adapter))
        except (PydanticUserError, TypeError, ValueError, NameError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{wanted!r} is not a type that an answer can have: {reason}") from None

    def typed(self, result: RunResult) -> RunResult:
        """Return the result with its value as this type.

        Raises:
            AgentError: a validation of the type fails that its JSON Schema does not contain.
        """
        if not result.ok:
            return result
        try:
            return replace(result, value=self.parse(result.answer))
        except ValueError as error:
            raise AgentError(f"the answer does not fit the schema: {error}", Stop.SCHEMA) from None


def _validated(adapter: TypeAdapter[Any], text: str) -> Any:
    """Return the value of JSON text.

    Raises:
        ValueError: the text does not fit; says where and why, as for a JSON Schema.
    """
    from pydantic import ValidationError  # late import: see above

    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise ValueError("; ".join(map(_problem, error.errors()[:_PROBLEMS]))) from None


def _problem(error: ErrorDetails) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"])
    return f"${path}: {error['msg']}"


def pack_answer(value: object, folder: Path) -> AnswerFile:
    """Write `value` into `folder`: as JSON if the JSON gives back an equal value, else as a pickle.

    Raises:
        ConfigError: it cannot be pickled either, or the disk is full.
    """
    text = _exact_json(value)
    if text is None:
        payload = pack(value, folder)
        return AnswerFile(payload.path.name, "pickle", payload.about)
    path = folder / f"answer-{secrets.token_hex(8)}"
    with os.fdopen(files.create(path), "wb") as file:
        file.write(text.encode())
    return AnswerFile(path.name)


def _exact_json(value: object) -> str | None:
    """Return the value as JSON. None if JSON would change it: a tuple to a list, a key that is a number to a text."""
    try:
        text = join_surrogates(json.dumps(value, ensure_ascii=False, allow_nan=False))
        return text if json.loads(text) == value else None
    except (TypeError, ValueError, RecursionError):
        return None


def load_answer(result: RunResult, folder: Path) -> RunResult:
    """Return the result with its patch and value from the host's files in `folder`, and remove these files."""
    if result.patch:
        path = folder / result.patch
        result = replace(result, patch=path.read_bytes().decode("utf-8", "surrogateescape"))  # by path: as below
        path.unlink()  # by path: as below
    if not isinstance(result.value, AnswerFile):
        return result
    path = folder / result.value.name
    try:
        if result.value.kind == "pickle":
            from rlm.process.shared_objects import load

            return replace(result, value=load(path))  # a sub-agent's kernel wrote it for this kernel
        text = path.read_text(encoding="utf-8")  # by path: the folder is the kernel's own
    finally:
        path.unlink()  # by path: the folder is the kernel's own
    value = json.loads(text)
    return replace(result, value=value, answer=value if isinstance(value, str) else text)
