"""An agent as a notebook: its cells with their results, what it said in between, and what can be run again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlm.clip import clip
from rlm.session.export.pictures import saved_pictures, split_uri
from rlm.session.export.text import dump
from rlm.session.store import SessionTree
from rlm.session.story import Call, Item, Turn, Words, tell

OUTPUT = 200_000
"""Characters of a result."""

Cell = dict[str, Any]


def notebook(tree: SessionTree) -> str:
    """nbformat 4.5."""
    meta = tree.meta
    about = {"session": meta.session_id, "agent": tree.agent, "model": meta.model, "status": meta.status}
    return dump(
        {
            "cells": _numbered(list(_cells(tree))),
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"},
                "title": meta.prompt_preview,
                "rlm": about,
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def _numbered(cells: list[Cell]) -> list[Cell]:
    ran = 0
    for place, cell in enumerate(cells):
        cell["id"] = f"cell-{place}"
        if cell["cell_type"] == "code":
            ran += 1
            cell["execution_count"] = ran
    return cells


def _cells(tree: SessionTree) -> Iterator[Cell]:
    for item in tell(tree.records()):
        yield from _item(item, tree)


def _item(item: Item, tree: SessionTree) -> Iterator[Cell]:
    match item:
        case Words(kind="task"):
            yield _markdown(f"**Task**\n\n{item.text}")
        case Turn(number=number) if number:
            if item.text.strip():
                yield _markdown(item.text)
            for call in item.calls:
                yield from _call(call, tree)


def _call(call: Call, tree: SessionTree) -> Iterator[Cell]:
    match call.tool:
        case "ipython" if call.code:
            yield _code(call.code, _outputs(call, tree))
        case "bash" if call.code:
            yield _code(f"%%bash\n{call.code}", _outputs(call, tree))
        case _:
            yield _markdown(f"**{call.tool}**\n\n{_fenced(call.arguments)}\n\n{_fenced(clip(call.content, OUTPUT))}")
    for name in call.children:
        child = tree.child(name)
        if child:
            yield _markdown(f"*Sub-agent {name}: {child.meta.prompt_preview}*\n\n{child.meta.answer_preview}")


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _markdown(text: str) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(source: str, outputs: list[Cell]) -> Cell:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": outputs, "execution_count": None}


def _outputs(call: Call, tree: SessionTree) -> list[Cell]:
    text = clip(call.content, OUTPUT)
    shown: list[Cell] = [{"output_type": "stream", "name": "stdout", "text": text}] if text.strip() else []
    if call.ok is False:
        last = text.rstrip().rpartition("\n")[2]
        name, _, value = last.partition(": ")
        shown = [{"output_type": "error", "ename": name[:100], "evalue": value, "traceback": text.split("\n")}]
    return [*shown, *(_display(uri) for _, uri in saved_pictures(call.content, tree.folder))]


def _display(uri: str) -> Cell:
    parts = split_uri(uri)
    assert parts is not None
    return {"output_type": "display_data", "metadata": {}, "data": {parts[0]: parts[1]}}
