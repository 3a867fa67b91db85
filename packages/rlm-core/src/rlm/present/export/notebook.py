"""An agent as a notebook: its cells with their results, its messages, and code that can be run again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from rlm.present.diffs import edit_diff
from rlm.present.export.notebook_setup import setup
from rlm.present.export.outputs import saved_pictures, split_uri, with_tables
from rlm.present.export.portable_json import write_object
from rlm.present.markdown import fenced
from rlm.sessions.records import UserCellRecord
from rlm.sessions.store import SessionTree
from rlm.sessions.transcript import Item, TextItem, TranscriptCall, Turn, build, user_call
from rlm.text.clip import clip

OUTPUT = 200_000
"""Maximum characters of a result."""

_NOTES = re.compile(r"\n?\[context turns: \d+/\d+\]\s*\Z|\A\[no output\]\s*(?=\Z|\[context turns: )")
_PICTURE = re.compile(r"^\[picture: (?:[^\]\n]*/)?([^\]\n/]+)\](?:\n|\Z)", re.MULTILINE)

Cell = dict[str, Any]

_LANGUAGE = {
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "codemirror_mode": {"name": "ipython", "version": 3},
    "pygments_lexer": "ipython3",
    "nbconvert_exporter": "python",
}


def notebook(tree: SessionTree) -> Iterator[str]:
    """Yield a notebook in nbformat 4.5."""
    yield from write_object(_members(tree), indent=1)
    yield "\n"


def _members(tree: SessionTree) -> Iterator[tuple[str, Any]]:
    meta = tree.meta
    yield "cells", _cells(tree)
    yield (
        "metadata",
        {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": _LANGUAGE,
            "title": meta.prompt_preview,
            "rlm": {"session": meta.session_id, "agent": tree.agent, "model": meta.model, "status": meta.status},
        },
    )
    yield "nbformat", 4
    yield "nbformat_minor", 5


def _cells(tree: SessionTree) -> Iterator[Cell]:
    places, runs = count(), count(1)
    if code := setup(tree):
        yield _code(code, []) | {"id": f"cell-{next(places)}", "metadata": {"tags": ["setup"]}}
    for item in build(tree.records()):
        for cell in _item(item, tree):
            number = {"execution_count": next(runs)} if cell["cell_type"] == "code" else {}
            yield cell | {"id": f"cell-{next(places)}"} | number


def _item(item: Item, tree: SessionTree) -> Iterator[Cell]:
    match item:
        case TextItem(kind="task"):
            yield _markdown(f"**Task**\n\n{item.text}")
        case Turn(number=number) if number:
            if item.text.strip():
                yield _markdown(item.text)
            for call in item.calls:
                yield from _call(call, tree)
        case UserCellRecord(code=source):
            yield _code(source, _outputs(user_call(item), tree)) | {"metadata": {"tags": ["user"]}}


def _call(call: TranscriptCall, tree: SessionTree) -> Iterator[Cell]:
    match call.tool:
        case "ipython" if call.code:
            yield _run_again(call, call.code, tree)
        case "bash" if call.code:
            yield _run_again(call, f"%%bash\n{call.code}", tree)
        case "edit" if diff := edit_diff(call):
            yield _markdown(f"**edit**\n\n{fenced(diff, 'diff')}\n\n{fenced(clip(call.content, OUTPUT))}")
        case _:
            yield _markdown(f"**{call.tool}**\n\n{fenced(call.arguments)}\n\n{fenced(clip(call.content, OUTPUT))}")
    for name in call.children:
        child = tree.child(name)
        if child:
            why = f"\n\n**{child.meta.status}**: {child.meta.error}" if child.meta.error else ""
            yield _markdown(f"*Sub-agent {name}: {child.meta.prompt_preview}*\n\n{child.meta.answer_preview}{why}")


def _run_again(call: TranscriptCall, source: str, tree: SessionTree) -> Cell:
    """A cell to run again. A cell that failed may fail again; the notebook then continues with the next cell."""
    failed = {"metadata": {"tags": ["raises-exception"]}} if call.ok is False else {}
    return _code(source, _outputs(call, tree)) | failed


def _markdown(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(source: str, outputs: list[Cell]) -> Cell:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": outputs, "execution_count": None}


def _outputs(call: TranscriptCall, tree: SessionTree) -> list[Cell]:
    text = clip(_said_by_the_cell(call.content, tree), OUTPUT)
    shown = [_shown(piece, html) for piece, html in with_tables(text, tree.folder) if piece.strip()]
    if call.ok is False:
        last = text.rstrip().rpartition("\n")[2]
        name, _, value = last.partition(": ")
        shown = [{"output_type": "error", "ename": name[:100], "evalue": value, "traceback": text.split("\n")}]
    return [*shown, *(_display(uri) for _, uri in saved_pictures(call.content, tree.folder))]


def _shown(text: str, html: str) -> Cell:
    if not html:
        return {"output_type": "stream", "name": "stdout", "text": text}
    data = {"text/plain": text, "text/html": html}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def _said_by_the_cell(content: str, tree: SessionTree) -> str:
    """A result without the parts that only the model needs.

    Pictures follow separately; a missing one keeps its name.
    """
    there = {name for name, _ in saved_pictures(content, tree.folder)}
    text = _NOTES.sub("", content.replace(f"{tree.folder}/", ""))
    return _PICTURE.sub(lambda found: "" if found[1] in there else f"[picture: {found[1]}]\n", text).rstrip("\n")


def _display(uri: str) -> Cell:
    parts = split_uri(uri)
    assert parts is not None
    return {"output_type": "display_data", "metadata": {}, "data": {parts[0]: parts[1]}}
