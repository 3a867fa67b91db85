"""The line at the bottom: with which model, where, how full the context is, what was spent, how confined it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlm.config.settings import Config, recording_of
from rlm.present.humanize import cost, count, seconds, tokens

if TYPE_CHECKING:
    from rlm.host.runner import AgentRunner


LONG_TURN = 10.0
"""Seconds of a turn after which its end rings the bell."""


def rings(config: Config, took: float) -> bool:
    """Whether the end of a turn of `took` seconds is told by a bell."""
    return config.bell and took >= LONG_TURN


def ending(took: float, *, notify: bool) -> str:
    """What tells of the end of such a turn: the bell, or where the terminal takes it a notification (OSC 9)."""
    return f"\x1b]9;rlm: the turn has ended after {seconds(took)}\x1b\\" if notify else "\a"


def status(agent: AgentRunner, cwd: Path, queued: int) -> str:
    config, prompt, usage = agent.config, agent.prompt_tokens, agent.session.tree_usage
    parts = [
        path.name if (path := recording_of(config.model)) else config.model,
        cwd.name or "/",
        _context(prompt, agent.window) if prompt else "",
        tokens(usage, cached=True) if prompt else "",
        cost(usage) if usage.cost else "",
        f"sandbox {config.sandbox}" + (" with network" if config.sandboxed and config.sandbox_net else ""),
        "asks before each cell" if config.confirm else "",
        f"{queued} queued" if queued else "",
    ]
    return " · ".join(filter(None, parts))


def _context(prompt: int, window: int | None) -> str:
    share = f" ({prompt * 100 // window} %)" if window else ""
    return f"context {count(prompt)}{share}"
