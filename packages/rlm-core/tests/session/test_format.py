"""docs/sessions.md and its schema describe exactly what is written."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from rlm.core.events import Event, Replied
from rlm.core.state import replay
from rlm.sessions import Session
from rlm.sessions.encoder import RecordEncoder
from rlm.sessions.records import Record, wire
from rlm.sessions.store import read_tree
from rlm_testkit.journals import KEY, conversations, encoded, opening, written
from rlm_testkit.sample import sample

DOCS = Path(__file__).parents[4] / "docs"
SCHEMA = json.loads((DOCS / "sessions.schema.json").read_text())
PAGE = (DOCS / "sessions.md").read_text()


def strict(name: str) -> Draft202012Validator:
    """The schema of one type, which refuses every field that it does not name."""
    schema: dict[str, Any] = copy.deepcopy(SCHEMA)
    schema["$ref"] = f"#/$defs/{name}"
    for kind in ("record", "meta", "usage"):
        schema["$defs"][kind]["unevaluatedProperties"] = False
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


RECORD, META = strict("record"), strict("meta")


def as_json(record: Record) -> Any:
    """The record as a reader sees it that does not know our types."""
    return json.loads(json.dumps(wire(record)))


@settings(deadline=None)
@given(conversations())
def test_every_record_of_any_conversation_fits_the_schema(events: list[Event]) -> None:
    encoder = RecordEncoder()
    for event in events:
        record = encoder.encode(event)
        if record is not None:
            RECORD.validate(as_json(record))


def test_every_file_and_every_line_of_a_session_fits_it(tmp_path: Path) -> None:
    seen: list[Record] = []
    folder = sample(tmp_path / "home")
    with Session.resume(folder, fork=True, watch=seen.append, key=KEY) as session:
        for event in opening("more"):
            session.record(event)
    for line in [*seen, session.result().with_exit(130)]:
        RECORD.validate(as_json(line))
    for each in (*read_tree(folder).walk(), *read_tree(session.folder).walk()):
        for record in each.records():
            RECORD.validate(as_json(record))
        META.validate(json.loads((each.folder / "meta.json").read_text()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "message", "id": 0, "ts": 0, "message": {"role": "assistant"}},
        {"type": "message", "id": 0, "ts": 0, "message": {"role": "tool"}, "ok": True},
        {"type": "drop", "id": 0, "ts": 0, "ids": [1], "reason": "", "summary": "without turns"},
        {"type": "error", "ts": 0, "reason": "no id"},
        {"type": "error", "id": 0, "ts": 0, "reason": "", "more": 1},
        {"type": "agent_start", "id": 0, "ts": 0, "folder": "../../x", "prompt": ""},
    ],
)
def test_a_wrong_record_does_not_fit(wrong: dict[str, Any]) -> None:
    assert not RECORD.is_valid(wrong)


def test_unknown_types_and_fields_are_valid() -> None:
    reader = Draft202012Validator(SCHEMA)
    reader.validate({"type": "weather", "id": 3, "ts": 0, "sky": "blue"})
    reader.validate({"type": "error", "id": 3, "ts": 0, "reason": "", "code": 7})


def test_the_page_names_every_type_every_field_and_every_metric(tmp_path: Path) -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", PAGE))
    kinds = {
        name
        for name, each in SCHEMA["$defs"].items()
        if "required" in each and name not in ("record", "meta", "usage", "run_end")
    }
    assert kinds <= named
    fields = {field for each in SCHEMA["$defs"].values() for field in each.get("properties", ())}
    assert fields - {"role", "estimated", "session_dir", "exit_code"} <= named
    metrics = json.loads((sample(tmp_path / "home") / "meta.json").read_text())["metrics"]
    by_tool = {name for name in metrics if name.startswith("tool_calls_")}
    assert {name.removeprefix("tree_") for name in metrics} - by_tool <= named


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations())
def test_the_program_in_the_page_rebuilds_every_request(tmp_path: Path, events: list[Event]) -> None:
    program, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "messages.jsonl"
    path.write_bytes(written(events))
    names: dict[str, Any] = {"path": path}
    exec(program, names)
    sent = [replay(events[:n]).history.messages for n, event in enumerate(events) if isinstance(event, Replied)]
    assert [[message for message, _ in request] for request in names["requests"]] == [
        json.loads(json.dumps([each.wire() for each in messages])) for messages in sent
    ]
    assert len(names["live"]) <= len(encoded(events))
