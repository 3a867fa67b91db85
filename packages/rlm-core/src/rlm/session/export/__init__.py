"""Sessions for others: a page to read, a notebook, training data, trajectories."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from importlib import import_module

from rlm.errors import SessionError
from rlm.session.store import SessionTree


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


def export(tree: SessionTree, format: Format, agent: str | None = None) -> str:
    """The session in a format, or one agent of it (`root/sub-…`) and what is below that. The text is valid UTF-8.

    Raises:
        SessionError: there is no such agent.
    """
    module, name = _WRITERS[format]
    write: Callable[[SessionTree], str] = getattr(import_module(f"{__name__}.{module}"), name)
    return write(find_agent(tree, agent) if agent else tree)


def find_agent(tree: SessionTree, agent: str) -> SessionTree:
    """The part of the tree that begins with this agent; the end of its path is enough where it is the only one.

    Raises:
        SessionError: there is none, or more than one.
    """
    found = [each for each in tree.walk() if each.agent == agent or each.agent.endswith(f"/{agent}")]
    if len(found) != 1:
        what = "no agent" if not found else "more than one agent"
        raise SessionError(f"There is {what} {agent} in session {tree.folder.name}. `rlm show` names them all.")
    return found[0]
