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
    """How training data writes the arguments of a call."""

    MAPPING = "mapping"  # an object, as chat templates want them
    TEXT = "text"  # JSON as text, as the API has them


def export(tree: SessionTree, format: Format, arguments: Arguments = Arguments.MAPPING) -> Iterator[str]:
    """The session in a format. The text is valid UTF-8.

    It comes in pieces, for it may be longer than the memory is large.
    """
    module, name = _WRITERS[format]
    write = getattr(import_module(f"{__name__}.{module}"), name)
    pieces: Iterator[str] = write(tree, arguments) if format is Format.CHAT else write(tree)
    return pieces


def part(tree: SessionTree, agent: str | None) -> SessionTree:
    """One agent and what is below it, in any form that `find_agent` takes. Without an agent it is the whole tree.

    Raises:
        SessionError: there is none, or more than one.
    """
    if agent is None or agent == tree.agent:
        return tree
    trees = {each.agent: each for each in tree.walk()}
    named = named_agents(trees, agent)
    if len(named) != 1:
        what = "no agent" if not named else "more than one agent"
        raise SessionError(f"There is {what} {agent} in session {tree.folder.name}. `rlm show` names them all.")
    return trees[named[0]]
