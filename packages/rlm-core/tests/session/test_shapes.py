"""Records with wrong fields, and meta.json with any content: at most one clear error, and everything else can be read."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlm.core.events import Event
from rlm.errors import RlmError, SessionError
from rlm.present.export import Format, export
from rlm.present.show import listed_wire, show_list, show_tree
from rlm.sessions import Session, journal
from rlm.sessions.lines import line_of, read_line
from rlm.sessions.store import list_sessions, read_tree
from rlm.text.styled import Canvas
from rlm_testkit.journals import KEY, conversations, encoded
from rlm_testkit.sample import sample

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        yield sample(Path(temporary) / "home")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each value within a value."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))


def put(record: Any, path: tuple[Any, ...], wrong: Any, remove: bool) -> None:
    for key in path[:-1]:
        record = record[key]
    if remove:
        del record[path[-1]]
    else:
        record[path[-1]] = wrong


def as_line(record: Any) -> bytes:
    return (json.dumps(record) + "\n").encode()


def read_in_every_way(folder: Path) -> None:
    """All readers must succeed; resuming may refuse, with one line."""
    home = folder.parent.parent
    canvas = Canvas(io.StringIO().write, 80)
    show_list(list_sessions(home, KEY), canvas)
    for listed in list_sessions(home):
        json.dumps(listed_wire(listed))
    tree = read_tree(folder)
    show_tree(tree, canvas)
    for format in Format:
        export(tree, format)
    with contextlib.suppress(RlmError):
        Session.resume(folder, fork=True, trust=True, key=KEY).finish()


@settings(max_examples=80)
@given(data=st.data(), wrong=json_values, remove=st.booleans())
def test_a_record_with_any_field_missing_or_wrong_stops_no_reader(
    folder: Path, data: st.DataObject, wrong: Any, remove: bool
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "home" / "sessions" / folder.name
        shutil.copytree(folder, copy)
        file = data.draw(st.sampled_from(sorted(copy.rglob(journal.NAME))))
        lines = file.read_bytes().splitlines(keepends=True)
        number = data.draw(st.integers(0, len(lines) - 1))
        record = json.loads(lines[number])
        path = data.draw(st.sampled_from(list(places(record))))
        put(record, path, wrong, remove)
        lines[number] = as_line(record)
        file.write_bytes(b"".join(lines))
        read_in_every_way(copy)


@settings(max_examples=80)
@given(data=st.data(), wrong=json_values, remove=st.booleans())
def test_a_meta_json_with_any_field_missing_or_wrong_stops_no_reader(
    folder: Path, data: st.DataObject, wrong: Any, remove: bool
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "home" / "sessions" / folder.name
        shutil.copytree(folder, copy)
        file = data.draw(st.sampled_from(sorted(copy.rglob("meta.json"))))
        meta = json.loads(file.read_text())
        put(meta, data.draw(st.sampled_from(list(places(meta)))), wrong, remove)
        file.write_text(json.dumps(meta))
        read_in_every_way(copy)


@given(conversations())
def test_every_record_that_rlm_writes_fits(events: list[Event]) -> None:
    assert all(read_line(line_of(record)) == record for record in encoded(events))


@pytest.mark.parametrize(
    ("line", "field", "wrong"),
    [(0, "message", 3), (1, "ts", None), (2, "model", []), (3, "usage", {"prompt_tokens": "many"}), (-1, "turns", "x")],
)
def test_resume_names_the_line_and_changes_nothing(
    folder: Path, tmp_path: Path, line: int, field: str, wrong: object
) -> None:
    copy = tmp_path / "sessions" / folder.name
    shutil.copytree(folder, copy)
    file = copy / journal.NAME
    lines = file.read_bytes().splitlines(keepends=True)
    lines[line] = as_line(json.loads(lines[line]) | {field: wrong})
    file.write_bytes(b"".join(lines))
    number = line % len(lines) + 1
    with pytest.raises(SessionError, match=f"^Line {number} of the journal of session .* is damaged"):
        Session.resume(copy, trust=True, key=KEY)
    assert file.read_bytes() == b"".join(lines)
    assert journal.read(copy).damaged == (number,)


def test_a_record_that_cannot_follow_those_before_it_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sessions" / folder.name
    shutil.copytree(folder, copy)
    with (copy / journal.NAME).open("ab") as file:
        answer = {"role": "tool", "tool_call_id": "never asked", "content": ""}
        file.write(as_line({"type": "message", "id": 10**6, "ts": 1, "message": answer, "tool": "x", "ok": True}))
    number = len((copy / journal.NAME).read_bytes().splitlines())
    with pytest.raises(SessionError, match=f"^Line {number} of the journal: "):
        Session.resume(copy, trust=True, key=KEY)
