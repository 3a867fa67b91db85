"""Formats the events that are printed above the prompt, and the live lines above the input, as texts with escapes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm.config.settings import Config
from rlm.present.diffs import DiffReader, diff_of, diff_summary, line_style, painted_diff
from rlm.present.humanize import cost, count, many, seconds, tokens
from rlm.present.live import lines
from rlm.present.live.frame import frame
from rlm.present.live.row import Row, fit, paint, wrap
from rlm.present.live.tree import ROOT, AgentNow, AgentTree, fold
from rlm.present.markdown import render_markdown
from rlm.repl.questions import HELP
from rlm.repl.streamed import HEAD, BlockReader, FoldableOutput, FoldedOutputs
from rlm.sessions.records import (
    CellEndRecord,
    CellOutputRecord,
    CellStartRecord,
    DeltaRecord,
    MessageRecord,
    Record,
    RetryRecord,
    UserCellRecord,
    UserCellStartRecord,
    UserOutputRecord,
)
from rlm.text.clip import one_line
from rlm.text.styled import Canvas, Span, Style
from rlm.text.terminal import plain

if TYPE_CHECKING:
    from rlm.host.runner import AgentRunner

MOST_CODE = 40
"""Maximum lines of a cell that are shown."""

_INDENT = Span("  ")
_AGENT, _USER = "agent", "user"


class ReplScreen:
    """Prints the records of a run."""

    def __init__(self, put: Callable[[str], None], size: Callable[[], tuple[int, int]], *, color: bool) -> None:
        """`put` prints above the prompt; `size` gives columns and lines."""
        self.tree = AgentTree()
        self.folded = FoldedOutputs()
        self._put = put
        self._size = size
        self.color = color
        self.plain = False
        """Whether the agent's text is printed without Markdown formatting."""
        self._blocks = BlockReader()
        self._streamed = False
        self._outputs: dict[str, FoldableOutput] = {}
        self._diffs: dict[str, DiffReader] = {}
        """The diff state of each output, for its next line."""
        self._user_since = 0.0
        self._shown_last = ""

    def show(self, record: Record) -> None:
        """Print a record of any agent of the tree."""
        now = time.monotonic()
        rows = lines.rows_of(self.tree, record, now)
        self.tree = fold(self.tree, record, now)
        if (record.agent or ROOT) == ROOT and (self._show_text(record) or self._show_cell(record)):
            return  # the rows would repeat what has been printed
        for row in rows:
            if not row.picture:
                self.print(row)

    def _show_text(self, record: Record) -> bool:
        """Print the agent's text as it arrives. Return whether the record was such text."""
        match record:
            case DeltaRecord(text=text):
                self._streamed = True
                self._print_markdown(self._blocks.feed(text))
            case MessageRecord(role="assistant", message=message):
                self._end_text("" if self._streamed else message.get("content") or "")
            case RetryRecord():
                self._end_text()
                return False
            case _:
                return False
        return True

    def _show_cell(self, record: Record) -> bool:
        """Print cells of the agent and of the user. Return whether the record belonged to a cell."""
        match record:
            case CellStartRecord():
                self._begin_cell(_AGENT, record.tool, _program(_arguments(record.arguments)))
            case CellOutputRecord(text=text):
                self._print_output(_AGENT, text)
            case CellEndRecord(ok=ok, duration=duration):
                self._end_cell(_AGENT, ok, duration, self.tree.agent(ROOT).outcome.failure)
            case _:
                return self._show_user_cell(record)
        return True

    def _show_user_cell(self, record: Record) -> bool:
        match record:
            case UserCellStartRecord(code=code):
                self._user_since = time.monotonic()
                self._begin_cell(_USER, "you", code)
            case UserOutputRecord(text=text):
                self._print_output(_USER, text)
            case UserCellRecord(ok=ok):
                self._end_cell(_USER, ok, time.monotonic() - self._user_since)
            case _:
                return False
        return True

    # ---- turns

    def header(self, agent: AgentRunner, *, resumed: bool) -> None:
        """Print the model, folder, tools and session that are open."""
        config, session = agent.config, agent.session
        self.print(
            lines.header(
                model=config.model,
                cwd=session.meta.cwd,
                tools=config.tools,
                session_id=session.id,
                sandbox=config.sandbox,
                recorded=config.recording is not None,
            )
        )
        for note in session.notes:
            self.note(note, Style.YELLOW)
        if not resumed:
            self.note(
                "Text goes to the agent, >expr and !cmd to the kernel that you share with it; /help lists the rest."
            )

    def begin_turn(self) -> None:
        """Reset the counts of the agent for a new turn."""
        if root := self.tree.agents.get(ROOT):
            now = AgentNow(ROOT, since=time.monotonic(), children=root.children)
            self.tree = AgentTree({**self.tree.agents, ROOT: now})

    def end_turn(self) -> None:
        """Print unfinished text and output of a turn that was cut off."""
        self._end_text()
        if _AGENT in self._outputs:
            self._end_cell(_AGENT, ok=False, duration=None)

    # ---- messages of the user and of rlm

    def echo(self, text: str, when: str = "") -> None:
        """Print a message that the user sent; of a long one, its beginning."""
        shown = text.split("\n")
        more = f"\n… {many(len(shown) - HEAD, 'more line')}" if len(shown) > HEAD else ""
        text = "\n".join(one_line(line, 400) if len(line) > 400 else line for line in shown[:HEAD])
        spans = [Span(text, Style.BOLD), Span(more, Style.DIM), Span(f"  {when}" if when else "", Style.DIM)]
        if not when:
            self._put("\n")
        self._canvas(lambda canvas: canvas.put(spans, [Span("› ", Style.CYAN)]))

    def answer(self, text: str) -> None:
        """Print an earlier answer of the agent."""
        self._print_markdown([text])

    def note(self, text: str, style: Style = Style.DIM) -> None:
        self._canvas(lambda canvas: canvas.put([Span(text, style)]))

    def print(self, row: Row) -> None:
        width, _ = self._size()
        for line in wrap(row, width - 1):
            self._put(paint(line, color=self.color) + "\n")

    def question(self, tool: str, arguments: dict[str, Any]) -> None:
        """Print a call that waits for the user's approval."""
        code = _program(arguments)
        if code != self._shown_last:  # true for a sub-agent, whose calls are not shown
            self._show_code(tool, code)
        self.note(f"Run this? {HELP}", Style.YELLOW)

    def unfold(self, number: int) -> None:
        text = self.folded.get(number)
        if text is None:
            self.note(f"There is no folded output {number}.")
        else:
            spans = _painted(text.rstrip("\n"), DiffReader())
            self._canvas(lambda canvas: canvas.put(spans, [Span("│ ", Style.DIM)]))

    def live(self, *, working: bool, beside: bool) -> str:
        """The live lines: the newest text, the agents at work, and below them the time of the user's cell.

        Args:
            beside: the user's cell runs while the agent's cell awaits.
        """
        width, height = self._size()
        rows = self._frame(width, height) if working else []
        if _USER in self._outputs:
            took = seconds(time.monotonic() - self._user_since)
            waits = _AGENT in self._outputs and not (beside or self._outputs[_USER].begun)
            state = "waits for the agent's" if waits else "runs"
            rows.append(Row((Span(f"    your cell {state}  {took}", Style.DIM),)))
        return "\n".join(paint(fit(row, width - 1, crop=True), color=self.color) for row in rows)

    def _frame(self, width: int, height: int) -> list[Row]:
        root = self.tree.agents.get(ROOT)
        if root is None:
            return []
        output = self._outputs.get(_AGENT)
        if self._streamed:
            root = replace(root, recent=self._blocks.unfinished)
        elif output is not None and not output.folds:
            root = replace(root, recent="")  # already printed above
        tree = replace(self.tree, agents={**self.tree.agents, ROOT: root})
        return frame(tree, time.monotonic(), width - 1, height // 2)

    # ---- the agent's text

    def _end_text(self, whole: str = "") -> None:
        self._print_markdown([*self._blocks.feed(whole), self._blocks.end()])
        self._streamed = False

    def _print_markdown(self, blocks: Sequence[str]) -> None:
        width, _ = self._size()
        for block in filter(None, blocks):
            shown = plain(block) if self.plain else render_markdown(block, width - 1, color=self.color)
            self._put(f"{shown}\n\n")

    # ---- cells

    def _begin_cell(self, whose: str, name: str, code: str) -> None:
        self._outputs[whose], self._diffs[whose] = FoldableOutput(), DiffReader()
        self._show_code(name, code)

    def _show_code(self, name: str, code: str) -> None:
        self._shown_last = code
        shown = code.rstrip().split("\n")
        more = len(shown) - MOST_CODE
        text = "\n".join(shown[:MOST_CODE]) + (f"\n… {many(more, 'more line')}" if more > 0 else "")
        head, _, below = text.partition("\n")
        rest = painted_diff(text)[1:] if name == "edit" else [Span(below, Style.BLUE)] * bool(below)
        self._canvas(lambda canvas: canvas.put([Span(head, Style.BLUE)], [Span(f"{name} ▏ ", Style.DIM)]))
        if rest:
            edge = Span(" " * len(name) + " ▏ ", Style.DIM)
            self._canvas(lambda canvas: canvas.put(rest, [edge]))

    def _print_output(self, whose: str, text: str) -> None:
        if (output := self._outputs.get(whose)) is not None:
            self._print_lines(output.feed(text), self._diffs[whose])

    def _end_cell(self, whose: str, ok: bool, duration: float | None, failure: str = "") -> None:
        """Print the end of a cell. `failure`: see `rlm.present.outcomes`."""
        output, reader = (
            self._outputs.pop(whose, None) or FoldableOutput(),
            self._diffs.pop(whose, None) or DiffReader(),
        )
        rest = output.end()
        if output.hidden:
            number = self.folded.add(output)
            shows = f" · {said}" if (said := diff_summary(output.whole())) else ""
            self.note(f"  … {many(output.hidden, 'line')}, Alt-{number} opens them below{shows}")
            reader = DiffReader()  # the position of the last lines in a diff is unknown
        self._print_lines(rest, reader)
        mark = Span("✓", Style.GREEN) if ok else Span("✗", Style.RED)
        if failure not in ("", "error"):
            mark = Span(failure, Style.YELLOW)
        took = "" if duration is None else f" {seconds(duration)}"
        self._canvas(lambda canvas: canvas.put([mark, Span(took, Style.DIM)]))

    def _print_lines(self, text: str, reader: DiffReader) -> None:
        if text:
            spans = _painted(text.removesuffix("\n"), reader)
            self._canvas(lambda canvas: canvas.put(spans, [_INDENT]))

    def _canvas(self, draw: Callable[[Canvas], object]) -> None:
        """Print a drawing in one call, so that no other text comes between its lines."""
        written: list[str] = []
        width, _ = self._size()
        draw(Canvas(written.append, width - 1, self.color))
        self._put("".join(written))


def _painted(text: str, reader: DiffReader) -> list[Span]:
    """Style whole lines; lines of a diff get its colours."""
    lines = text.split("\n")
    ends = ["\n"] * (len(lines) - 1) + [""]
    return [Span(line + end, line_style(reader.read(line))) for line, end in zip(lines, ends, strict=True)]


def _program(arguments: dict[str, Any]) -> str:
    code = arguments.get("code") or arguments.get("command") or diff_of(arguments) or None
    return code if isinstance(code, str) else json.dumps(arguments, ensure_ascii=False, indent=1)


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# ---- the line at the bottom, and the end of a long turn

LONG_TURN = 10.0
"""Seconds; a bell rings at the end of a longer turn."""


def rings(config: Config, took: float) -> bool:
    """Whether a bell rings at the end of a turn of `took` seconds."""
    return config.bell and took >= LONG_TURN


def ending(took: float, *, notify: bool) -> str:
    """The sequence for the end of such a turn: the bell, or a notification (OSC 9) if the terminal supports it."""
    return f"\x1b]9;rlm: the turn has ended after {seconds(took)}\x1b\\" if notify else "\a"


def status(agent: AgentRunner, cwd: Path, queued: int) -> str:
    """The line: the model, the folder, the use of the context, the cost, the sandbox."""
    config, prompt, usage = agent.config, agent.prompt_tokens, agent.session.tree_usage
    share = f" ({prompt * 100 // agent.window} %)" if agent.window else ""
    parts = [
        lines.model_name(config.model),
        cwd.name or "/",
        f"context {count(prompt)}{share}" if prompt else "",
        tokens(usage, cached=True) if prompt else "",
        cost(usage) if usage.cost else "",
        f"sandbox {lines.sandbox_state(config)}",
        "asks before each cell" if config.confirm else "",
        f"{queued} queued" if queued else "",
    ]
    return " · ".join(filter(None, parts))
