"""A stored session, as the updates that show it to a client that loads it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rlm.acp.updates import ROOT, agent_call, chunk, ended_call
from rlm.core.messages import Wire
from rlm.sessions.store import SessionTree
from rlm.sessions.transcript import TextItem, TranscriptCall, Turn, build


def history_updates(tree: SessionTree) -> Iterator[Wire]:
    """The conversation of the root, its calls, and its sub-agents with their answers."""
    names: dict[str, int] = {}
    for item in build(tree.records()):
        match item:
            case TextItem(kind="task"):
                yield chunk("user_message_chunk", item.text, f"record-{item.id}")
            case Turn() if item.number:
                yield from _turn(item, tree, names)


def _turn(turn: Turn, tree: SessionTree, names: dict[str, int]) -> Iterator[Wire]:
    if turn.reasoning.strip():
        yield chunk("agent_thought_chunk", turn.reasoning, f"record-{turn.id}")
    if turn.text.strip():
        yield chunk("agent_message_chunk", turn.text, f"record-{turn.id}")
    for call in turn.calls:
        names[call.id] = names.get(call.id, 0) + 1
        id = call.id if names[call.id] == 1 else f"{call.id}#{names[call.id]}"
        yield ended_call(id, call, tree.meta.cwd)
        yield from _agents(call, tree)


def _agents(call: TranscriptCall, tree: SessionTree) -> Iterator[Wire]:
    for folder in call.children:
        child = tree.child(folder)
        if child is None:
            continue
        task = next((i.text for i in build(child.records()) if isinstance(i, TextItem) and i.kind == "task"), "")
        status = "completed" if child.meta.status == "done" else "failed"
        shown = agent_call(f"{ROOT}/{folder}", task) | {"status": status}
        answer = child.meta.answer_preview or child.meta.error or child.meta.status
        shown["content"] = [*shown["content"], {"type": "content", "content": {"type": "text", "text": answer}}]
        yield shown
