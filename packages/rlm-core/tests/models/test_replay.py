from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rlm.core.messages import Usage
from rlm.errors import ConfigError, ModelError
from rlm.providers.replay import Recording, ReplayModel


def turn(task: str, text: str, **more: Any) -> dict[str, Any]:
    return {"task": task, "message": {"role": "assistant", "content": text}, **more}


def write(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


async def text_of_next_turn(model: ReplayModel) -> str:
    return (await model.complete([], [])).message.text


# ---- a file of turns


async def test_each_agent_gets_its_own_turns_in_order(tmp_path: Path) -> None:
    file = write(tmp_path / "t", turn("a", "a1"), turn("b", "b1"), turn("a", "a2"), turn("b", "b2"))
    recording = Recording.load(file)
    a, b = recording.model("a"), recording.model("b")
    assert [await text_of_next_turn(model) for model in (b, a, b, a)] == ["b1", "a1", "b2", "a2"]


async def test_a_reply_is_what_was_recorded(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 7}}
    recording = Recording.load(write(tmp_path / "t", turn("a", "x", usage=usage, finish_reason="length")))
    reply = await recording.model("a").complete([], [])
    assert (reply.finish, reply.usage) == ("length", Usage(9, 8, 7))
    assert reply.message.received == {"role": "assistant", "content": "x"}
    assert recording.model("a").name == "replay:t"


async def test_agents_of_the_same_task_are_distinguished_by_name(tmp_path: Path) -> None:
    file = write(tmp_path / "t", turn("a", "1", agent="x"), turn("a", "2", agent="y"), turn("a", "1b", agent="x"))
    recording = Recording.load(file)
    first, second = recording.model("a"), recording.model("a")
    assert [await text_of_next_turn(model) for model in (first, second, first)] == ["1", "2", "1b"]


async def test_the_root_may_have_another_task_and_nobody_else(tmp_path: Path) -> None:
    recording = Recording.load(
        write(tmp_path / "t", turn("root task", "r"), turn("root task", "other", agent="2"), turn("child", "c"))
    )
    assert recording.model("looked at and never asked").params == {}
    assert await text_of_next_turn(recording.model("my own words")) == "r"
    assert await text_of_next_turn(recording.model("child")) == "c"
    with pytest.raises(ModelError, match="contains no agent with the task 'a stranger'"):
        await text_of_next_turn(recording.model("a stranger"))


async def test_a_recording_that_is_over_says_so(tmp_path: Path) -> None:
    model = Recording.load(write(tmp_path / "t", turn("a", "x"))).model("a")
    await text_of_next_turn(model)
    with pytest.raises(ModelError, match="recording t has no more turns for the task 'a'"):
        await text_of_next_turn(model)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ('{"message": {}}', 'line 2: "task" is missing'),
        ('{"task": 3, "message": {}}', 'line 2: "task" is missing or not a text'),
        ('{"task": "a"}', 'line 2: "message" is missing'),
        ('{"task": "a", "message": {"tool_calls": [3]}}', "line 2: the reply contains a tool call"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    file = write(tmp_path / "turns.jsonl", turn("a", "x"))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ConfigError, match=f"turns.jsonl, {problem}"):
        Recording.load(file)


def test_a_file_that_is_not_there_or_empty_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Recording.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="contains no turns"):
        Recording.load(write(tmp_path / "empty"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ConfigError, match="line 1: not JSON"):
        Recording.load(tmp_path / "binary")


# ---- a session


def message_record(role: str, content: Any, **more: Any) -> dict[str, Any]:
    counted = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "finish_reason": "stop"}
    of_reply = counted if role == "assistant" else {}
    return {"type": "message", "message": {"role": role, "content": content}, **of_reply, **more}


def write_journal(folder: Path, *records: dict[str, Any], end: str = "") -> None:
    write(folder / "messages.jsonl", *({"id": id, "ts": 0.0, **record} for id, record in enumerate(records)))
    with (folder / "messages.jsonl").open("a") as file:
        file.write(end)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "0123456789ab"
    usage = {"prompt_tokens": 5, "completion_tokens": 4, "cached_tokens": 3, "reasoning_tokens": 2}
    write_journal(
        folder,
        {"type": "request", "model": "m", "tools": [], "params": {}},
        message_record("system", "s"),
        message_record("user", "root task"),
        message_record("assistant", "r1", usage=usage, finish_reason="stop"),
        {"type": "agent_start", "folder": "sub-2", "prompt": "child"},
        {"type": "agent_start", "folder": "sub-1", "prompt": "child"},
        {"type": "agent_start", "folder": "../outside", "prompt": "x"},
        message_record("user", "summarise"),
        message_record("assistant", "the summary", finish_reason="stop"),
        {"type": "drop", "ids": [1], "reason": "compaction"},
        message_record("assistant", "r2"),
    )
    for name, text in (("sub-1", "started second"), ("sub-2", "started first")):
        parts = [{"type": "text", "text": "chi"}, {"type": "text", "text": "ld"}]
        grandchild = {"type": "agent_start", "folder": "sub-3", "prompt": "grandchild"}
        more = [grandchild] if name == "sub-1" else []
        torn = '{"type": "message", "torn' if more else ""
        write_journal(folder / name, message_record("user", parts), message_record("assistant", text), *more, end=torn)
    write_journal(folder / "sub-1/sub-3", message_record("user", "grandchild"), message_record("assistant", "g"))
    write_journal(tmp_path / "outside", message_record("user", "x"), message_record("assistant", "x"))
    return folder


@pytest.mark.parametrize("name", ["", "messages.jsonl"])
async def test_a_session_is_replayed_with_summaries_and_children(session: Path, name: str) -> None:
    recording = Recording.load(session / name)
    root = recording.model("root task")
    reply = await root.complete([], [])
    assert (reply.message.text, reply.usage) == ("r1", Usage(5, 4, 3, 2))
    assert [await text_of_next_turn(root), await text_of_next_turn(root)] == ["the summary", "r2"]
    assert await text_of_next_turn(recording.model("child")) == "started first"
    assert await text_of_next_turn(recording.model("child")) == "started second"
    assert await text_of_next_turn(recording.model("grandchild")) == "g"
    assert root.name == "replay:0123456789ab"
    with pytest.raises(ModelError):
        await text_of_next_turn(recording.model("x"))


def test_a_damaged_session_is_named(session: Path) -> None:
    lines = (session / "messages.jsonl").read_text().splitlines(keepends=True)
    (session / "messages.jsonl").write_text("".join([lines[0], "{}\n", *lines[1:]]))
    with pytest.raises(ConfigError, match=r"messages\.jsonl, line 2: not a record of a session"):
        Recording.load(session)
    (session / "messages.jsonl").unlink()
    with pytest.raises(ConfigError, match="The recording cannot be read"):
        Recording.load(session)
