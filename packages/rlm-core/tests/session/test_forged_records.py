"""A forged session cannot control a terminal, whichever field of whichever record is forged.

Each text of each type of record, including field names, is replaced by one that would control a terminal. The output of
each reader is then checked byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from rlm.errors import RlmError
from rlm.present.export import Format, export
from rlm.present.follow import Follower
from rlm.present.live.lines import rows_of
from rlm.present.live.row import paint, wrap
from rlm.present.live.tree import AgentTree, fold
from rlm.present.show import show_list, show_tree
from rlm.sessions.journal import NAME, reader
from rlm.sessions.store import list_sessions, read_tree
from rlm.text.styled import Canvas
from rlm.text.terminal import plain
from rlm_testkit.escapes import terminal_text
from rlm_testkit.sample import sample

HOSTILE = "\x1b]0;title\x07\x1b[2J\x1b[31m\x9b5A\x90q\x9c\x85\u202e\u2066\U000e0041\u2028\x00\x08\r\x7f\x1b"
"""OSC, CSI, DCS, their C1 forms, overrides, isolates, tags, a line separator, C0, DEL, an unfinished sequence."""

Path_ = tuple[Any, ...]
TYPES = {
    "session", "request", "message", "drop", "retry", "error", "kernel", "rerun", "skills", "agent_start", "agent_end",
    "resume", "result",
}  # fmt: skip
MORE = [
    {"type": "rerun", "id": 900, "ts": 1.0, "call_id": "c", "same": False, "content": "other"},
    {"type": "skills", "id": 901, "ts": 1.0, "python": {"say": 1}, "shell": {"say": 2}},
    {"type": "resume", "id": 902, "ts": 1.0, "model": "m", "version": "1", "notes": ["a note"]},
    {"type": "unheard_of", "id": 903, "ts": 1.0, "text": "a later version's"},
    {"type": "agent_start", "id": 904, "ts": 1.0, "folder": "sub-00000000", "prompt": "gone"},
    {
        "type": "agent_end", "id": 905, "ts": 1.0, "folder": "sub-00000000", "stop": "error", "turns": 1,
        "usage": {"prompt_tokens": 1, "completion_tokens": 1}, "error": "failed",
    },
    {"type": "message", "id": 906, "ts": 1.0, "kind": "note", "message": {"role": "user", "content": "a note"}},
]  # fmt: skip


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The paths of texts, and of numbers, which could be replaced by texts. A path that ends with a tuple leads to a
    name.
    """
    if isinstance(value, str | int | float):
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield (*path, (name,))
            yield from leaves(item, (*path, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))


def forged(record: dict[str, Any], path: Path_) -> dict[str, Any]:
    record = deepcopy(record)
    *way, last = path
    inner: Any = record
    for step in way:
        inner = inner[step]
    if isinstance(last, tuple):
        inner[last[0] + HOSTILE] = inner.pop(last[0])
    else:
        inner[last] = f"before {HOSTILE} after" if last != "type" else inner[last] + HOSTILE
    return record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = sample(tmp_path_factory.mktemp("home") / ".rlm")
    with (session / NAME).open("a") as journal:
        journal.writelines(json.dumps(record) + "\n" for record in MORE)
    return session


def cases(records: list[dict[str, Any]]) -> Iterator[tuple[int, Path_]]:
    """Each kind of text once, identified by the type of its record and the path to it."""
    seen = set()
    for number, record in enumerate(records):
        role = record.get("message", {}).get("role")
        for path in leaves(record):
            kind = (record["type"], role, tuple(0 if isinstance(step, int) else step for step in path))
            if kind not in seen:
                seen.add(kind)
                yield number, path


def test_no_text_of_any_record_controls_a_terminal(folder: Path) -> None:
    journal = folder / NAME
    lines = journal.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    tried = [(number, path) for number, path in cases(records)]
    assert len(tried) > 100
    assert {record["type"] for record in records} >= TYPES - {"session", "error"}
    try:
        for together in rounds(tried):
            if not look_at(folder, lines, together):
                for case in together:
                    look_at(folder, lines, [case])
    finally:
        journal.write_text("\n".join(lines) + "\n")


def rounds(tried: list[tuple[int, Path_]]) -> list[list[tuple[int, Path_]]]:
    """The cases, divided so that each round forges each record at most once."""
    result: list[list[tuple[int, Path_]]] = []
    for number, path in tried:
        free = next((each for each in result if number not in dict(each)), None)
        if free is None:
            result.append(free := [])
        free.append((number, path))
    return result


def look_at(folder: Path, lines: list[str], cases: list[tuple[int, Path_]]) -> bool:
    """Check that a reader gets through the whole session: a failure could hide the effect of a later forgery."""
    bad = list(lines)
    for number, path in cases:
        bad[number] = json.dumps(forged(json.loads(bad[number]), path))
    (folder / NAME).write_text("\n".join(bad) + "\n")
    return look(folder, ", ".join(f"{json.loads(lines[number])['type']}: {path}" for number, path in cases))


@pytest.mark.parametrize("name", ["session_id", "model", "cwd", "status", "stop_reason", "prompt_preview", "version"])
def test_no_text_of_meta_json_controls_a_terminal(folder: Path, name: str) -> None:
    path = folder / "meta.json"
    kept = path.read_text()
    try:
        path.write_text(
            json.dumps(json.loads(kept) | {name: HOSTILE, "status": "limit", HOSTILE: HOSTILE} | {name: HOSTILE})
        )
        look(folder, name)
    finally:
        path.write_text(kept)


def look(folder: Path, what: str) -> bool:
    """Return the output of all readers that write to a terminal or page, and whether each of them succeeded."""
    whole = True
    for way in WAYS:
        out: list[str] = []
        for color in (False, True):
            try:
                way(folder, out, color)
            except (RlmError, ValueError, LookupError, TypeError, AttributeError) as error:
                out.append(plain(str(error)))  # as `say` writes it
                whole = False
        try:
            terminal_text("".join(out).encode(errors="replace"), colours=True)
        except AssertionError as error:
            raise AssertionError(f"{way.__name__}, {what}: {error}") from None
    return whole


def show(folder: Path, out: list[str], color: bool) -> None:
    show_tree(read_tree(folder), Canvas(out.append, 80, color), whole=color)


def follow(folder: Path, out: list[str], color: bool) -> None:
    Follower(folder, Canvas(out.append, 80, color)).show_new()


def ls(folder: Path, out: list[str], color: bool) -> None:
    show_list(list_sessions(folder.parents[1]), Canvas(out.append, 80, color))


def page(folder: Path, out: list[str], color: bool) -> None:
    out.extend(export(read_tree(folder), Format.HTML) if color else ())


def screen(folder: Path, out: list[str], color: bool) -> None:
    tree = AgentTree()
    for record in reader(folder):
        rows = rows_of(tree, record, 0.0, verbose=color)
        tree = fold(tree, record, 0.0)
        out.extend(paint(line, color=color) for row in rows for line in wrap(row, 80))


WAYS: list[Callable[[Path, list[str], bool], None]] = [show, follow, ls, page, screen]
