"""A run as the command line shows it: the answer on stdout, everything else on stderr."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rlm.budget import Stop
from rlm.cli import exits
from rlm.cli.screen import Screen, open_screen
from rlm.cli.signals import Interrupted, until_signal
from rlm.cli.tally import Tally
from rlm.config import Config
from rlm.errors import ConfigError, RlmError
from rlm.result import RunResult
from rlm.runtime import Order, context_file, open_tree
from rlm.session.codec import usage_wire
from rlm.terminal import plain

Record = dict[str, Any]


def run(task: str, config: Config, cwd: Path) -> int:
    """Run the task, print what comes of it, return the exit code.

    Raises:
        RlmError: the run could not even start.
    """
    _check_output(config.output)
    order = Order(task, config, cwd, context_file(config.context))
    with open_screen(sys.stderr, quiet=config.quiet, color=config.color) as screen:
        return Front(config, screen).run(order)


class Front:
    """Watches one run, and tells how it goes and ends in each of the forms that were asked for."""

    def __init__(self, config: Config, screen: Screen) -> None:
        self._config = config
        self._screen = screen
        self._tally = Tally()
        self._began = time.monotonic()

    def run(self, order: Order) -> int:
        try:
            result = asyncio.run(self._work(order))
        except Interrupted as interrupted:
            self._close(self._tally.answer, Stop.CANCELLED, interrupted.code)
            return interrupted.code
        except RlmError as error:
            code = exits.of_error(error)
            self._close(self._tally.answer, Stop.ERROR, code, str(error))
            if self._tally.session:
                self._footer()
            raise
        self._close(result.answer, result.stop, exits.of_stop(result.stop))
        return exits.of_stop(result.stop)

    async def _work(self, order: Order) -> RunResult:
        async with open_tree(self._config, watch=self._hear, stream=self._watched()) as tree:
            return await until_signal(tree.run(order), tree.kill)

    def _watched(self) -> bool:
        """Whether somebody sees the model's text as it comes."""
        config = self._config
        return config.deltas if config.json else sys.stderr.isatty() and not config.quiet

    def _hear(self, record: Record) -> None:
        self._tally(record)
        self._screen(record)
        if self._config.json and self._wanted(record):
            _print_json(record)

    def _wanted(self, record: Record) -> bool:
        if record is self._tally.root:
            return False  # the last line says it, and more
        return record["type"] != "delta" or self._config.deltas

    def _close(self, answer: str, stop: Stop, code: int, error: str = "") -> None:
        """Say how it ended, in every form."""
        if self._config.json:
            _print_json(self._last_line(answer, stop, code, error))
        elif answer:
            _print_answer(answer)
        if self._config.output is not None and answer:
            self._config.output.write_text(f"{answer}\n", encoding="utf-8", errors="replace")
        if not error:
            self._footer()

    def _footer(self) -> None:
        tally = self._tally
        self._screen.footer(
            turns=tally.turns, agents=tally.agents, usage=tally.total, session_id=tally.session_id, stop=tally.stop
        )

    def _last_line(self, answer: str, stop: Stop, code: int, error: str) -> Record:
        tally = self._tally
        return {
            "type": "result",
            "agent": "root",
            "status": stop.status,
            "stop_reason": str(stop),
            "answer": answer,
            "usage": usage_wire(tally.total),
            "usage_by_agent": {agent: usage_wire(usage) for agent, usage in tally.usage.items()},
            "turns": tally.turns,
            "agents": tally.agents,
            "duration": round(time.monotonic() - self._began, 3),
            "session_id": tally.session_id,
            "session_dir": tally.session_dir,
            "exit_code": code,
        } | ({"error": error} if error else {})


def _print_json(record: Record) -> None:
    line = json.dumps(record, ensure_ascii=False).encode(errors="replace")
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


def _print_answer(answer: str) -> None:
    """As it is; on a terminal without what would move the cursor or worse."""
    text = plain(answer) if sys.stdout.isatty() else answer
    sys.stdout.buffer.write(text.rstrip("\n").encode(errors="replace") + b"\n")
    sys.stdout.flush()


def _check_output(path: Path | None) -> None:
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigError(f"The answer cannot be written to {path}: no such folder, or not writable.")
