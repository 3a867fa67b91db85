"""behaviour.md, Sub-agents: answers of a certain type, and values from a kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]

PARENT = [
    """
from dataclasses import dataclass
@dataclass
class Found:
    name: str
    lines: list[int]
typed = await rlm.run("typed", schema=Found)
print(typed.value, typed.answer, typed.turns)
value = await rlm.run("value")
print(value.value, value.answer, value.ok)
long = await rlm.run("long")
print(len(long.answer), long.value == long.answer)
try:
    await rlm.run("stubborn", schema={"type": "integer"})
except rlm.AgentError as error:
    print(error, error.stop)
!echo '{"type": "array"}' > array.json; rlm --schema array.json "listed"; echo "exit $?"
try:
    rlm.answer({1})
except rlm.AgentError as error:
    print(error)
""",
    "rlm.answer('too early'); 1/0",
    "rlm.answer({'found': [1, None]})\nprint('last words')",
]
CHILDREN = {
    "typed": ["no JSON", '```json\n{"name": 1}\n```', '```json\n{"name": "n", "lines": [1, 2]}\n```'],
    "stubborn": ["no"] * 9,
    "listed": ["[1]"],
}


def script(request: Request) -> Answer:
    if request.task == "value":
        return call("ipython", code="rlm.answer((1, (2, 3)))")
    if request.task == "long":
        return call("ipython", code="rlm.answer('é' * 2_000_000)")
    if request.depth:
        return text(CHILDREN[request.task][request.turn])
    return call("ipython", code=PARENT[request.turn])


def test_values_come_out_of_kernels_and_answers_have_the_requested_type(rlm: Make) -> None:
    with Scripted(script) as server:
        done = rlm(server)("go", RLM_MAX_DEPTH="1")
    first, early, last = done.session.results
    assert first.splitlines() == [
        'Found(name=\'n\', lines=[1, 2]) {"name": "n", "lines": [1, 2]} 3',
        "(1, (2, 3)) tuple, 2 long, begins (1, (2, 3)) True",
        "2000000 True",
        "the answer does not fit the schema: it is not JSON (Expecting value: line 1 column 1 (char 0)); "
        "write the JSON alone, without any other text schema",
        "[1]",
        "exit 0",
        "the answer must be what JSON can hold (texts, numbers, lists, dicts); this is set, 1 long, begins {1}",
    ]
    assert early.endswith("[the cell failed after `rlm.answer`, so the answer was not taken]")
    assert last == "last words\n"
    assert (done.code, done.out) == (0, '{"found": [1, null]}\n')
    assert done.session.meta["answer_preview"] == '{"found": [1, null]}'
    stops = sorted(child.meta["stop_reason"] for child in done.session.children)
    assert stops == ["done", "done", "done", "done", "schema"]
    typed = [request for request in server.requests if request.task == "typed"]
    assert '"lines"' in typed[0].messages[0]["content"], "the prompt contains the schema"
    assert '$.name: 1 is not of type "string"; ' not in typed[1].messages[-1]["content"]
    assert '$.name: 1 is not of type "string"' in typed[2].messages[-1]["content"]
    assert all("response_format" not in request.body for request in server.requests), "not every server accepts it"


def test_the_command_prints_only_json_that_fits_the_schema(without_tools: Make, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "items": {"type": "integer"}}')
    answers = ["Here it is: [1]", "```json\n[1, 2]\n```", "still no", "and", "again", "and", "again"]
    with Scripted(lambda request: text(answers[request.turn])) as server:
        run = without_tools(server)
        done = run("--schema", str(schema), "go")
        assert (done.code, json.loads(done.out)) == (0, [1, 2])
        done = run("--schema", str(schema), "resume", done.session.folder.name)
        assert (done.code, done.out) == (1, "")
        assert "the answer does not fit the schema: it is not JSON" in done.err
        schema.write_text('{"type": "int"}')
        done = run("--schema", str(schema), "go")
        assert (done.code, len(done.sessions)) == (2, 1), "no run was started"
        assert "The JSON Schema for the answer is invalid" in done.err


def test_an_answer_of_any_length_is_printed_whole(rlm: Make) -> None:
    with Scripted(call("ipython", code="rlm.answer(list(range(300_000)))")) as server:
        done = rlm(server)("go")
    assert (done.code, json.loads(done.out)) == (0, list(range(300_000)))
    assert done.session.records[-1]["answer"] == done.out.strip()
