"""Sessions for others: a page to read, a notebook, training data, trajectories."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from importlib import import_module

from rlm.errors import SessionError
from rlm.sessions.find import named_agents
from rlm.sessions.store import SessionTree


class Format(StrEnum):
    HTML = "html"  # one page, for reading and sharing
    IPYNB = "ipynb"  # one agent as a notebook
    CHAT = "chat"  # JSON lines: what the model saw, for training
    ATIF = "atif"  # a trajectory in the Agent Trajectory Interchange Format, sub-agents nested


_WRITERS = {
    Format.HTML: ("html", "page"),
    Format.IPYNB: ("notebook", "notebook"),
    Format.CHAT: ("chat", "chat"),
    Format.ATIF: ("atif", "trajectory"),
}


class Arguments(StrEnum):
    """How training data represents the arguments of a call."""

    MAPPING = "mapping"  # an object, as chat templates need it
    TEXT = "text"  # JSON text, as the API uses it


def export(tree: SessionTree, format: Format, arguments: Arguments = Arguments.MAPPING) -> Iterator[str]:
    """Export the session in a format, as valid UTF-8 text.

    The text comes in pieces, because it may be larger than memory.
    """
    module, name = _WRITERS[format]
    write = getattr(import_module(f"{__name__}.{module}"), name)
    pieces: Iterator[str] = write(tree, arguments) if format is Format.CHAT else write(tree)
    return pieces


def subtree(tree: SessionTree, agent: str | None) -> SessionTree:
    """Return one agent and all agents below it; without an agent, the whole tree.

    `agent`: any form that `find_agent` accepts.

    Raises:
        SessionError: there is no such agent, or more than one.
    """
    if agent is None or agent == tree.agent:
        return tree
    trees = {each.agent: each for each in tree.walk()}
    named = named_agents(trees, agent)
    if len(named) != 1:
        what = "no agent" if not named else "more than one agent"
        raise SessionError(f"There is {what} {agent} in session {tree.folder.name}. `rlm show` lists them all.")
    return trees[named[0]]
