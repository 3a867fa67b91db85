"""Answers that cells give: how they get from one kernel to another, and which answers are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel, field_validator
from rlm.broker.answers import AnswerType, load_answer, pack_answer
from rlm.broker.protocol import AnswerFile, AnswerRequest, parse_answer, result_line
from rlm.core.budget import Stop
from rlm.core.task import RunResult
from rlm.errors import AgentError, ConfigError
from rlm.host.answers import AnswerSchema, AnswerStore, hand_over, response_format
from typing_extensions import TypedDict

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["x"],
}


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict):
    name: str


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("it is odd")
        return n


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The folder of the agent, and the folder of the host."""
    agent, host = tmp_path / "agent", tmp_path / "host"
    agent.mkdir()
    host.mkdir()
    return agent, host


@pytest.mark.parametrize(
    "value", ["text", "é☃😀\n", "", 1, -0.5, True, {"a": [1, None, {"b": ""}]}, [], "x" * 3_000_000, [1] * 600_000]
)
async def test_a_json_value_arrives_unchanged(folders: tuple[Path, Path], value: object) -> None:
    agent, host = folders
    answers = AnswerStore(agent, host, None, pickles=False)
    await answers.store(AnswerRequest("", pack_answer(value, agent)))
    taken = answers.take()
    result = hand_over(RunResult(taken.text, Stop.DONE, value=taken.value), agent)
    line = result_line(result)
    assert len(line) < 2_000_000
    loaded = load_answer(parse_answer(line), agent)
    assert loaded.value == value
    assert loaded.answer == (value if isinstance(value, str) else taken.text)
    assert [*agent.iterdir(), *host.iterdir()] == [], "no file is left"


@pytest.mark.parametrize("value", [(1, 2), {1: "a"}, {1}, float("nan"), b"bytes", Point(1), [(1,)], Path("/x"), 1j])
async def test_a_value_that_json_changes_is_pickled_and_only_a_parent_gets_it(
    folders: tuple[Path, Path], value: object
) -> None:
    agent, host = folders
    file = pack_answer(value, agent)
    assert file.kind == "pickle"
    root = AnswerStore(agent, host, None, pickles=False)
    with pytest.raises(AgentError, match=f"must be what JSON can hold .*this is {type(value).__name__}"):
        await root.store(AnswerRequest("", file))
    with_schema = AnswerStore(agent, host, AnswerSchema(True), pickles=True)
    with pytest.raises(AgentError, match="must be what JSON can hold"):
        await with_schema.store(AnswerRequest("", file))
    child = AnswerStore(agent, host, None, pickles=True)
    await child.store(AnswerRequest("", file))
    taken = child.take()
    loaded = load_answer(
        parse_answer(result_line(hand_over(RunResult("", Stop.DONE, value=taken.pickle), agent))), agent
    )
    assert repr(loaded.value) == repr(value)
    assert [*agent.iterdir(), *host.iterdir()] == []


async def test_the_newest_answer_counts_and_earlier_ones_are_removed(folders: tuple[Path, Path]) -> None:
    agent, host = folders
    answers = AnswerStore(agent, host, None, pickles=True)
    await answers.store(AnswerRequest("", pack_answer({1}, agent)))
    await answers.store(AnswerRequest("", pack_answer({2}, agent)))
    assert len(list(host.iterdir())) == 1
    await answers.store(AnswerRequest("", pack_answer("text", agent)))
    assert list(host.iterdir()) == []
    assert answers.take().value == "text"


async def test_only_a_regular_file_of_the_agent_is_accepted(folders: tuple[Path, Path]) -> None:
    agent, host = folders
    (agent / "folder").mkdir()
    os.mkfifo(agent / "pipe")
    (agent / "link").symlink_to("/etc/passwd")
    (agent / "latin").write_bytes(b'"\xe9"')
    (agent / "nan").write_text("NaN")
    (agent / "deep").write_text("[" * 100_000)
    answers = AnswerStore(agent, host, None, pickles=True)
    for name, reason in {
        **dict.fromkeys(("folder", "pipe", "link", "none"), "not a file in this agent's runtime folder"),
        **dict.fromkeys(("latin", "nan", "deep"), "not the answer that was asked for"),
    }.items():
        with pytest.raises(AgentError, match=reason):
            await answers.store(AnswerRequest("", AnswerFile(name)))
    assert not answers.pending


async def test_an_answer_that_does_not_fit_the_schema_is_refused_with_where_and_why(
    folders: tuple[Path, Path],
) -> None:
    agent, host = folders
    answers = AnswerStore(agent, host, AnswerSchema(POINT), pickles=True)
    with pytest.raises(AgentError) as raised:
        await answers.store(AnswerRequest("", pack_answer({"x": "a", "tags": ["", 3]}, agent)))
    problems = str(raised.value).removeprefix("this is not the answer that was asked for: ").split("; ")
    assert {'$.x: "a" is not of type "integer"', '$.tags[1]: 3 is not of type "string"'} == set(problems)
    await answers.store(AnswerRequest("", pack_answer({"x": 1}, agent)))
    assert (answers.take().text, json.loads(answers.taken.text if answers.taken else "")) == ('{"x": 1}', {"x": 1})


@pytest.mark.parametrize(
    ("wanted", "text", "value"),
    [
        (Point, '{"x": 1}', Point(1)),
        (list[int], "[1, 2]", [1, 2]),
        (Named, '{"name": "n"}', {"name": "n"}),
        (int | None, "null", None),
        (POINT, '{"x": 2}', {"x": 2}),
        (Even, '{"n": 2}', Even(n=2)),
    ],
)
def test_any_type_that_pydantic_accepts_is_a_schema(wanted: object, text: str, value: object) -> None:
    for written in (text, f"\n```json\n{text}\n```\n", f"```\n{text}\n```"):
        schema = AnswerSchema.of_type(wanted)
        assert schema.parse(schema.find(written)) == value
    assert AnswerType.of(wanted).typed(RunResult(text, Stop.DONE)).value == value
    assert AnswerType.of(wanted).typed(RunResult("no", Stop.MAX_TURNS)).value is None


def test_checks_of_a_type_beyond_its_schema_are_reported_too() -> None:
    with pytest.raises(ValueError, match="it is odd"):
        AnswerSchema.of_type(Even).find('{"n": 1}')
    with pytest.raises(AgentError) as raised:
        AnswerType.of(list[Even]).typed(RunResult('[{"n": 2}, {"n": 1}]', Stop.DONE))
    assert str(raised.value) == "the answer does not fit the schema: $[1].n: Value error, it is odd"
    assert raised.value.stop is Stop.SCHEMA


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (object(), "not a type that an answer can have"),
        ("NoSuchType", "not a type that an answer can have"),
        ({"type": "strin"}, "JSON Schema for the answer is invalid"),
        ({"$ref": "http://127.0.0.1:1/schema"}, "rlm fetches nothing"),
        ({"$ref": "file:///etc/passwd"}, "rlm fetches nothing"),
        ({"pattern": "("}, "JSON Schema for the answer is invalid"),
    ],
)
def test_an_invalid_schema_is_refused_before_anything_begins(wanted: object, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        AnswerSchema.of_type(wanted)


@pytest.mark.parametrize("text", ["{", "3", "[" * 10_000])
def test_a_text_that_is_not_a_schema_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="JSON Schema"):
        AnswerSchema.from_text(text)


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (POINT, False),
        ({"type": "object", "properties": {}, "required": [], "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": POINT}, "required": ["a"], "additionalProperties": False}, False),
        ({"type": "array"}, None),
        (True, None),
    ],
)
def test_openai_gets_the_schema_with_strict_mode_if_the_schema_allows_it(
    schema: Mapping[str, object] | bool, strict: bool | None
) -> None:
    parameters = response_format(AnswerSchema(schema))
    assert (parameters and parameters["response_format"]["json_schema"]["strict"]) is strict
