"""The first cell of a notebook: the names that rlm defined in the kernel before the first cell of the run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pprint import pformat

from rlm.sessions import journal
from rlm.sessions.records import AgentStartRecord, ResultRecord, SkillsRecord
from rlm.sessions.store import SessionTree
from rlm.sessions.transcript import Turn, build

_NAMES = re.compile(r"\b(rlm|asyncio|context)\b")

_RLM = '''\
class AgentError(Exception):
    """A sub-agent failed."""


class Result(SimpleNamespace):
    ok = property(lambda self: self.stop == "done")

    def __str__(self):
        return self.answer


class RecordedAgents:
    """The sub-agents of the run answer as recorded. To ask a model instead: import rlm"""

    AgentError = AgentError

    def __init__(self, runs):
        self.runs = runs

    async def run(self, task, **_):
        if not (recorded := self.runs.get(task)):
            raise AgentError(f"No sub-agent of the run had the task {task!r}. To ask a model: import rlm")
        result = Result(**(recorded.pop(0) if len(recorded) > 1 else recorded[0]))
        if result.stop in ("error", "cancelled"):
            raise AgentError(result.error or result.stop)
        return result

    __call__ = run


rlm = RecordedAgents('''


class _Code(str):
    """Code that is written without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def setup(tree: SessionTree) -> str:
    """The code of the setup cell; empty if no cell uses one of its names."""
    used = set(_used(tree))
    skills = sorted(
        {
            name
            for record in journal.records_of(tree.folder, SkillsRecord)
            for name in record.python
            if name.isidentifier()
        }
    )
    lines = ["import asyncio"] * ("asyncio" in used or "rlm" in used)
    lines += ["from types import SimpleNamespace"] * ("rlm" in used)
    lines += [f"from {name} import run as {name}  # a skill: it must be installed here" for name in skills]
    parts = ["\n".join(lines)] * bool(lines)
    parts += [_context(tree)] * ("context" in used)
    parts += [f"{_RLM}{pformat(_runs(tree), width=110, sort_dicts=False)})"] * ("rlm" in used)
    return "\n\n".join(["# What rlm had put into the kernel.", *parts]) if parts else ""


def _used(tree: SessionTree) -> Iterator[str]:
    for item in build(tree.records()):
        if isinstance(item, Turn):
            for call in item.calls:
                yield from _NAMES.findall(call.code) if call.tool == "ipython" else ()


def _context(tree: SessionTree) -> str:
    path = tree.meta.settings.get("context")
    if path is None:
        return "context = None  # the session does not keep the object that the run was given"
    return (
        f"with open({path!r}, encoding='utf-8', errors='replace', newline='') as file:  # --context\n"
        "    context = file.read()"
    )


def _runs(tree: SessionTree) -> dict[str, list[dict[str, object]]]:
    """The results of the sub-agents, by their task, in the order of the calls."""
    runs: dict[str, list[dict[str, object]]] = {}
    for record in journal.records_of(tree.folder, AgentStartRecord):
        child = tree.child(record.folder)
        if child is not None:
            runs.setdefault(record.prompt, []).append(_run(child))
    return runs


def _run(child: SessionTree) -> dict[str, object]:
    ends = list(journal.records_of(child.folder, ResultRecord))
    if not ends:
        return {"answer": "", "stop": "error", "error": "It did not end.", "turns": child.meta.turns, "usage": None}
    end = ends[-1]
    usage = child.meta.tree_usage
    counts = f"SimpleNamespace(prompt={usage.prompt}, completion={usage.completion}, cached={usage.cached})"
    fields: dict[str, object] = {"answer": end.answer, "stop": end.stop_reason, "error": end.error, "turns": end.turns}
    return fields | {"usage": _Code(counts)}
