"""The answer on stdout: as the model wrote it, but on a terminal as light Markdown and set off from the log."""

from __future__ import annotations

import shutil

from rlm.cli.streams import put, put_painted, stderr_is_terminal, stdout_is_terminal
from rlm.config.readers import ColorChoice
from rlm.config.settings import Config
from rlm.present.live.writer import WIDEST
from rlm.present.markdown import render_markdown


def put_answer(answer: str, config: Config) -> None:
    """
    Raises:
        RlmError, BrokenPipeError: as `put`.
    """
    answer = answer.rstrip("\n")
    if config.plain or not stdout_is_terminal():
        put(answer)
        return
    width = min(shutil.get_terminal_size().columns, WIDEST)
    shown = render_markdown(answer, width, color=config.color is not ColorChoice.NEVER)
    log = stderr_is_terminal() and not config.quiet
    put_painted(f"\n{shown}\n" if log else shown)
