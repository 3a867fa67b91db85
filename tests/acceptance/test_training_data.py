"""`rlm export --format chat` with the programs that read it: chat templates, and the package `datasets`."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template
from rlm.core.events import Event, ParametersChanged, Replied, Said, ToolReturned
from rlm.core.messages import Kind, ToolResult, User
from rlm.present.export import Arguments, Format, export
from rlm.sessions import Session
from rlm.sessions.store import read_tree
from rlm_testkit.found_uv import UV
from rlm_testkit.journals import cell, ending, opening, reply, turn

CODE = 'print("ünïcode <b>")'
FAMILIES_WITH_TOOLS = ("qwen2_5", "qwen3", "qwen3_5_think", "glm4moe", "gptoss", "llama3_1", "nemotron_3_nano")
"""Some of the templates that must work; some of the others have no tools."""


def row(cwd: Path, *events: Event, arguments: Arguments = Arguments.MAPPING) -> dict[str, Any]:
    with Session.create(Path("home"), model="m", cwd=cwd, prompt="t") as session:
        for event in events:
            session.record(event)
    (line,) = "".join(export(read_tree(session.folder), Format.CHAT, arguments)).splitlines()
    wire: dict[str, Any] = json.loads(line)
    return wire


def rendered(template: Template, line: dict[str, Any]) -> str:
    """The rendered line, with `tools` as trl reads them; for an exception its name."""
    values = {"messages": line["messages"], "tools": json.loads(line["tools"])}
    try:
        return template.render(bos_token="<s>", eos_token="</s>", add_generation_prompt=False, **values)
    except Exception as error:  # noqa: BLE001 - whatever a template does is the answer
        return f"raised {type(error).__name__}"


def shows_the_call(text: str) -> bool:
    """Whether the call is rendered as code or JSON, and not as JSON in a JSON string."""
    return CODE in text or json.dumps(CODE, ensure_ascii=False)[1:-1] in text


def test_objects_render_in_all_templates_that_render_calls_and_text_in_few(
    templates: dict[str, Template], tmp_path: Path
) -> None:
    whole = (*opening("the task"), *turn(None, (cell(CODE), "the result")), *ending("the answer"))
    rows = {each: row(tmp_path, *whole, arguments=each) for each in Arguments}
    good = {
        each: {name for name, one in templates.items() if shows_the_call(rendered(one, rows[each]))} for each in rows
    }
    # `--arguments text` is for models whose templates expect arguments as text
    assert good[Arguments.TEXT] - good[Arguments.MAPPING] <= {"deepseekv3"}
    assert len(good[Arguments.MAPPING]) > 2 * len(good[Arguments.TEXT])
    assert set(FAMILIES_WITH_TOOLS) <= good[Arguments.MAPPING]
    for name in FAMILIES_WITH_TOOLS:
        text = rendered(templates[name], rows[Arguments.MAPPING])
        assert all(part in text for part in ("the task", "the result", "the answer", "ipython")), name
        assert "None" not in text, name


@pytest.mark.parametrize("name", [each for each in FAMILIES_WITH_TOOLS if each not in ("llama3_1", "gptoss")])
def test_parallel_calls_reasoning_and_a_missing_system_prompt_render_too(
    templates: dict[str, Template], tmp_path: Path, name: str
) -> None:
    """Llama's and gpt-oss's own templates accept only one call at a time."""
    response = reply(
        None, cell(CODE), cell("second()"), cell("cut(") | {"function": {"name": "ipython", "arguments": '{"co'}}
    )
    results = [ToolReturned(ToolResult(call, f"result {n}")) for n, call in enumerate(response.message.calls)]
    whole = [Said(User("the task")), ParametersChanged("m", ()), Replied(response), *results, *ending("the answer")]
    text = rendered(templates[name], row(tmp_path, *whole))
    assert all(part in text for part in ("second()", '{"co' if '{"co' in text else '{\\"co', "result 2", "the answer"))
    assert shows_the_call(text)


# ---- datasets

LOAD = """
import itertools, json, sys, tempfile
import datasets
datasets.disable_progress_bars()
files, order = sys.argv[1:], 0
for order in itertools.permutations(files):
    with tempfile.TemporaryDirectory() as cache:
        loaded = datasets.load_dataset("json", data_files=list(order), split="train", cache_dir=cache)
        rows = [json.loads(line) for file in order for line in open(file)]
        assert [row["messages"] for row in loaded] == [row["messages"] for row in rows], "messages have changed"
        assert [row["tools"] for row in loaded] == [row["tools"] for row in rows]
        assert set(loaded.column_names) == set(rows[0])
print("loaded")
"""


def unlike() -> Iterator[list[Event]]:
    """Sessions that differ as much as possible."""
    picture = User([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], Kind.NOTE)
    many = cell("") | {"function": {"name": "web", "arguments": '{"timeout": "5", "deep": {"a": [1, "x", null]}}'}}
    yield [Said(User("t")), ParametersChanged("m", ()), *ending("no tools at all")]
    yield [*opening("t"), *turn("", (cell("1", "bash"), "1")), *ending("end")]
    yield [*opening("t"), Said(picture), *turn("", (many, "1"), (cell("x"), "2")), *ending("end")]
    yield [
        Said(User("t")),
        ParametersChanged(
            "m", ({"name": "web", "parameters": {"enum": [1, "a"]}},), {"stop": ["x"], "reasoning": {"effort": 1}}
        ),
        Replied(reply("\ud83d", refusal=None, reasoning_details=[{"text": "r"}, "r"])),
    ]


def test_datasets_loads_any_sessions_together_in_any_order_without_changes(tmp_path: Path) -> None:
    files = []
    for number, events in enumerate(unlike()):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(json.dumps(row(tmp_path, *events)) + "\n")
        files.append(file)
    command: list[str | Path] = [
        UV,
        "run",
        "--quiet",
        "--isolated",
        "--no-project",
        "--with",
        "datasets>=5",
        "python",
        "-c",
        LOAD,
        *files,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["loaded"], done.stderr[-2_000:]


def test_all_columns_have_one_type_whatever_the_session(tmp_path: Path) -> None:
    rows = [row(tmp_path, *events) for events in unlike()]
    types = [{name: type(value) for name, value in each.items()} for each in rows]
    assert all(one == other for one, other in itertools.pairwise(types))
    assert all({key for key, _ in each["usage"].items()} == set(rows[0]["usage"]) for each in rows)
