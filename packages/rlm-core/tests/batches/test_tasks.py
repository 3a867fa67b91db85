"""A file of tasks is read completely before any task runs. Each error names its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rlm.batches.tasks import BatchTask, Job, check_tasks, read_tasks, select_tasks
from rlm.config.settings import Config
from rlm.errors import ConfigError, CredentialsError

CONFIG = Config(base_url="http://127.0.0.1:1/v1")


def read(path: Path, columns: dict[str, str] | None = None, *, copied: bool = False) -> list[BatchTask]:
    return check_tasks(read_tasks(path, columns or {}), CONFIG, path.name, path.parent, copied=copied)


def test_a_task_may_have_all_fields_and_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    task: dict[str, Any] = {
        "id": 7,
        "prompt": "a — b",
        "cwd": "here",
        "context": [1, {"a": None}],
        "model": "m",
        "tools": ["bash"],
        "schema": {"type": "object"},
        "system_prompt": "",
        "env": {"A": "1"},
        "max_turns": 3,
        "timeout": 5,
        "setup": "true",
        "verify": "false",
        "metadata": {"any": ["thing"]},
    }
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps(task) + "\n")
    (read_back,) = read(file)
    assert json.loads(read_back.line()) == task
    assert read_back.settings(CONFIG).tools == ("bash",)
    assert read_back.settings(CONFIG).timeout == 5.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": "first"}, "the id 'first' occurs twice: tasks.jsonl, line 1 has it too"),
        ({"prompt": " "}, "The task is empty"),
        ({"max_turns": 0}, "max_turns=0 is not allowed"),
        ({"max_turns": True}, "max_turns: Expected `int | null`, got `bool`"),
        ({"timeout": -1}, "timeout=-1.0 is not allowed"),
        ({"tools": "ipython,hammer"}, "'hammer' is none of them"),
        ({"tools": ["hammer"]}, "'hammer' is none of them"),
        ({"cwd": "nowhere"}, "nowhere' is not allowed: it takes a folder that exists"),
        ({"schema": {"type": "no such type"}}, "The JSON Schema for the answer is invalid"),
        ({"schema": "text"}, "schema: Expected"),
        ({"env": {"A": 1}}, "Expected `str`, got `int`"),
        ({"env": {"A=B": "1"}}, "'A=B' cannot be a variable"),
        ({"env": {"": "1"}}, "'' cannot be a variable"),
        ({"env": {"A": "\0"}}, "'A' cannot be a variable"),
        ({"env": {"RLM_BROKER": "x"}}, "RLM_BROKER belongs to rlm"),
        ({"setup": ["true"]}, "setup: Expected `str | null`, got `array`"),
        ({"verfy": "true"}, "no field 'verfy'. Did you mean verify?"),
        ({"id": None}, "id: Expected `int | str`, got `null`"),
    ],
)
def test_each_error_in_a_task_is_reported_with_its_line(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    file = tmp_path / "tasks.jsonl"
    first, second = {"id": "first", "prompt": "a"}, {"id": "second", "prompt": "b"} | fields
    file.write_text(f"{json.dumps(first)}\n\n{json.dumps(second)}\n")
    with pytest.raises(ConfigError) as refused:
        read(file)
    assert str(refused.value).startswith("tasks.jsonl, line 3: ")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_task_needs_an_id_a_file_a_task_and_a_batch_a_model(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"prompt": "a"}\n')
    with pytest.raises(ConfigError, match="line 1: Object missing required field `id`"):
        read(file)
    file.write_text("\n")
    with pytest.raises(ConfigError, match=r"tasks\.jsonl contains no task"):
        read(file)
    file.write_text('{"id": 1, "prompt": "a"}\n')
    with pytest.raises(CredentialsError, match="There is no API key"):
        check_tasks(read_tasks(file, {}), Config(), file.name, tmp_path, copied=False)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path / "missing.jsonl")


def test_in_a_working_copy_a_folder_is_in_that_copy(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"id": 1, "prompt": "a", "cwd": "sub"}\n')
    assert read(file, copied=True)
    for cwd in (str(tmp_path / "sub"), "sub/../../"):
        file.write_text(json.dumps({"id": 1, "prompt": "a", "cwd": cwd}) + "\n")
        with pytest.raises(ConfigError, match="it is a folder in the working copy"):
            read(file, copied=True)


def test_a_table_is_read_by_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "tasks.csv"
    file.write_text('question,verify,max_turns,other\n"two\nlines, and a comma",true,3,x\nb,,,\n')
    first, second = read(file, {"prompt": "question"})
    assert (first.id, first.prompt, first.verify, first.max_turns) == (1, "two\nlines, and a comma", "true", 3)
    assert (second.id, second.prompt, second.verify, second.max_turns) == (2, "b", None, None)

    table = pa.table(
        {"key": ["a", "b"], "q": ["x", "y"], "context": [[1, 2], None], "schema": ['{"type": "object"}', None]}
    )
    pq.write_table(table, tmp_path / "tasks.parquet")
    first, second = read(tmp_path / "tasks.parquet", {"id": "key", "prompt": "q"})
    assert (first.id, first.prompt, first.context, first.schema) == ("a", "x", [1, 2], {"type": "object"})
    assert (second.id, second.context, second.schema) == ("b", None, None)


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("a,b\n1,2\n", {"prompt": "c"}, "tasks.csv has no column 'c'. It has: a, b."),
        ("a,b\n1,2\n", {"promt": "a"}, "--map: there is no field promt"),
        ("a,b\n1,2\n", {}, "line 2: Object missing required field `prompt`"),
        ("prompt\na\nb,c\n", {}, "line 3: it has more or fewer cells than the first line"),
        ('prompt\na\n"b\n', {}, "line 3: unexpected end of data"),
        ("prompt,max_turns\na,many\n", {}, "line 2: max_turns must be JSON, not 'many'"),
        ("prompt,id\na,1\nb,1\n", {}, "line 3: the id '1' occurs twice"),
    ],
)
def test_each_error_in_a_table_is_reported(tmp_path: Path, text: str, columns: dict[str, str], words: str) -> None:
    file = tmp_path / "tasks.csv"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read(file, columns)
    assert words in str(refused.value)


def test_a_file_that_is_not_parquet_is_refused_and_a_map_is_for_tables(tmp_path: Path) -> None:
    file = tmp_path / "tasks.parquet"
    file.write_text("no parquet")
    with pytest.raises(ConfigError, match="is not a Parquet file"):
        read(file)
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"id": 1, "prompt": "a"}\n')
    with pytest.raises(ConfigError, match="--map is for CSV and Parquet"):
        read(file, {"prompt": "question"})


def test_shards_hold_each_task_once_and_a_limit_comes_first() -> None:
    tasks = [BatchTask(id=number, prompt="a") for number in range(10)]
    shards = [select_tasks(tasks, 7, (k, 3)) for k in (1, 2, 3)]
    assert sorted(task.id for shard in shards for task in shard) == list(range(7))
    assert [len(shard) for shard in shards] == [3, 2, 2]


def test_ids_that_are_not_valid_folder_names_get_another_name() -> None:
    ids = ["plain-1.2", "a/b", "..", "", "a" * 300, "ä", "-x", ".hidden"]
    names = [Job(BatchTask(id=id, prompt="a"), 1).name for id in ids]
    assert names[0] == "plain-1.2-1"
    assert len(set(names)) == len(ids)
    assert not any("/" in name or name.startswith((".", "-")) or len(name) > 90 for name in names)
