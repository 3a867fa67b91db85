"""The line at the bottom: the model, the folder, the use of the context, the cost, the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlm.config.settings import Config, recording_of
from rlm.present.humanize import cost, count, seconds, tokens

if TYPE_CHECKING:
    from rlm.host.runner import AgentRunner


LONG_TURN = 10.0
"""Seconds; a bell rings at the end of a longer turn."""


def rings(config: Config, took: float) -> bool:
    """Whether a bell rings at the end of a turn of `took` seconds."""
    return config.bell and took >= LONG_TURN


def ending(took: float, *, notify: bool) -> str:
    """The sequence for the end of such a turn: the bell, or a notification (OSC 9) if the terminal supports it."""
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
