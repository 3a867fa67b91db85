"""Sessions in a terminal: `rlm ls` and `rlm show`. Every foreign text passes `rlm.terminal.plain` here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from rlm.session.codec import Record
from rlm.session.meta import Meta
from rlm.session.store import Listed, SessionTree
from rlm.session.story import Call, Item, Mark, Turn, Words, tell
from rlm.terminal import plain
from rlm.words import ago, count, many, seconds, tokens

LINES = 24
"""Of an output, unless all of it is asked for."""

_STATUS = {"done": "green", "running": "cyan", "limit": "yellow", "cancelled": "yellow", "error": "red", "lost": "red"}
LANGUAGES = {"ipython": "python", "bash": "bash"}


# ---- rlm ls


def listed_wire(listed: Listed) -> Record:
    """A session as `rlm ls --json` prints it: its meta.json with a true status, and its folder."""
    return listed.meta.wire() | {"folder": str(listed.folder)}


_COLUMNS = ("id", "age", "status", "turns", "agents", "tokens", "folder", "task")
_GAP = 2


def show_list(sessions: Sequence[Listed], console: Console, now: float | None = None) -> None:
    """A table, newest first as they come. What is short is shown whole; folder and task share what is left."""
    rows = [list(_row(listed, time.time() if now is None else now)) for listed in sessions]
    short = [max(len(title), *(row[n].cell_len for row in rows)) for n, title in enumerate(_COLUMNS[:-2])]
    left = max(console.width - sum(short) - _GAP * (len(_COLUMNS) - 1), 16)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, _GAP, 0, 0))
    for title in _COLUMNS:
        table.add_column(title, no_wrap=True, justify="right" if title in ("turns", "agents", "tokens") else "left")
    for row in rows:
        row[-2].truncate(min(30, left // 3), overflow="ellipsis")
        row[-1].truncate(left - min(30, left // 3), overflow="ellipsis")
        table.add_row(*row)
    console.print(table)


def _row(listed: Listed, now: float) -> Iterator[Text]:
    meta = listed.meta
    yield Text(listed.folder.name)
    yield Text(ago(now - meta.updated_time))
    yield _status(meta)
    yield Text(str(meta.turns))
    yield Text(f"{meta.metrics.get('agents', 1):.0f}")
    yield Text(count(meta.tree_usage.prompt + meta.tree_usage.completion))
    yield _line(meta.cwd)
    yield _line(meta.prompt_preview)


def _status(meta: Meta) -> Text:
    reason = f" ({meta.stop_reason})" if meta.status == "limit" else ""
    return _line(meta.status + reason, _STATUS.get(meta.status, ""))


def _line(text: str, style: str = "") -> Text:
    return Text(" ".join(plain(text).split()), style)


# ---- rlm show


def show_tree(tree: SessionTree, console: Console, *, whole: bool = False) -> None:
    """The session and all below it, each agent under the call that started it. `whole`: outputs are not cut."""
    console.print(_head(tree))
    for part in Shown(LINES if not whole else None).agent(tree):
        console.print(part)


def _head(tree: SessionTree) -> RenderableType:
    meta = tree.meta
    agents = f"{meta.metrics.get('agents', 1):.0f} agents · " if tree.children else ""
    spent = f"{many(meta.turns, 'turn')} · {agents}{tokens(meta.tree_usage, cached=True)}"
    took = seconds(meta.metrics.get("duration", 0.0))
    first = Text.assemble(
        (tree.folder.name, "bold"), "  ", _status(meta), "  ", _line(meta.model), f"  {spent} · {took}"
    )
    return first if tree.meta.depth else Group(first, Text(plain(str(tree.folder)), "dim"))


class Shown:
    """How a tree is drawn: outputs are cut to `lines`, or not at all."""

    def __init__(self, lines: int | None) -> None:
        self._lines = lines

    def agent(self, tree: SessionTree) -> Iterator[RenderableType]:
        placed: set[str] = set()
        for item in tell(tree.records):
            yield from self.item(item, tree)
            if isinstance(item, Turn):
                placed.update(name for call in item.calls for name in call.children)
        for child in tree.children:
            if child.folder.name not in placed:
                yield self._child(child)
        if tree.torn or tree.damaged:
            yield Text("Some of this journal cannot be read.", "red")

    def item(self, item: Item, tree: SessionTree) -> Iterator[RenderableType]:
        match item:
            case Turn():
                yield from self._turn(item, tree)
            case Words(kind="system") if tree.meta.depth:
                pass  # much like its parent's
            case Words(kind="system"):
                yield Text(f"\nsystem prompt, {count(len(item.text))} characters", "dim")
            case Words():
                who = {"task": "user", "note": "rlm"}.get(item.kind, f"rlm, {item.kind}")
                pictures = f"  {many(len(item.pictures), 'picture')}" if item.pictures else ""
                yield Text.assemble((f"\n{who}", "bold blue"), (pictures, "dim"))
                if item.text.strip():
                    yield self.text(item.text)
            case Mark(type="result") if tree.meta.depth and not item.record.get("error"):
                pass  # its head says so
            case Mark():
                yield from _mark(item)

    def _turn(self, turn: Turn, tree: SessionTree) -> Iterator[RenderableType]:
        name = f"turn {turn.number}" if turn.number else "summary call"
        took = seconds(turn.ended - turn.started) if turn.ended > turn.started else ""
        yield Text.assemble((f"\n{name}", "bold"), (f"  {tokens(turn.usage)}  {took}", "dim"))
        if turn.text.strip():
            yield Text(plain(turn.text.strip()))
        for call in turn.calls:
            yield from self._call(call, tree)

    def _call(self, call: Call, tree: SessionTree) -> Iterator[RenderableType]:
        yield _call_head(call)
        yield Edged(_code(call), "cyan")
        for name in call.children:
            child = tree.child(name)
            yield self._child(child) if child else Text(f"  {plain(name)} is gone", "dim")
        if call.content.strip():
            yield Edged(self.text(call.content.rstrip(), "red" if call.ok is False else ""), edge="  ")

    def _child(self, child: SessionTree) -> RenderableType:
        return Edged(Group(_head(child), *self.agent(child)), "magenta", "  │ ")

    def text(self, text: str, style: str = "") -> Text:
        """Head and tail of a long text."""
        lines = plain(text).split("\n")
        if self._lines is None or len(lines) <= self._lines:
            return Text("\n".join(lines), style)
        head, tail = lines[: self._lines // 2], lines[-self._lines // 2 :]
        missing = len(lines) - len(head) - len(tail)
        note = (f"\n… {many(missing, 'line')} more …\n", "dim italic")
        return Text.assemble(("\n".join(head), style), note, ("\n".join(tail), style))


class Edged:
    """Something with an edge on its left, and no blanks on its right."""

    def __init__(self, inner: RenderableType, style: str = "", edge: str = "│ ") -> None:
        self._inner = inner
        self._edge = Segment(edge, Style.parse(style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(20, options.max_width - len(self._edge.text))
        for line in console.render_lines(self._inner, options.update(width=width), pad=False):
            yield self._edge
            yield from line
            yield Segment.line()


def _call_head(call: Call) -> Text:
    sign = {True: ("✓", "green"), False: ("✗", "red"), None: ("…", "dim")}[call.ok]
    took = seconds(call.ended - call.started) if call.ended is not None and call.started is not None else ""
    return Text.assemble(sign, (f" {plain(call.tool)}", "cyan"), (f"  {took}", "dim"))


def _code(call: Call) -> Text:
    code, language = plain(call.code), LANGUAGES.get(call.tool)
    if not code or language is None:
        return Text(code or plain(call.arguments))
    highlighted = Syntax("", language, theme="ansi_dark", background_color="default").highlight(code)
    highlighted.rstrip()
    return highlighted


def _mark(mark: Mark) -> Iterator[RenderableType]:
    record = mark.record
    match mark.type:
        case "drop":
            yield Text(f"\n{many(len(record['ids']), 'message')} left the context: {plain(record['reason'])}", "yellow")
        case "retry":
            yield Text(f"\nretry {record['attempt']} in {seconds(record['wait'])}: {plain(record['reason'])}", "yellow")
        case "kernel":
            yield Text(f"\nkernel restarted: {plain(record['why'])}", "yellow")
        case "error":
            yield Text(f"\n{plain(record['reason'])}", "red")
        case "resume":
            yield Text("\nresumed", "bold blue")
        case "rerun":
            yield Text(f"cell run again: {'the same' if record['same'] else 'something else'}", "dim")
        case "result":
            said = f"\n{plain(record['stop_reason'])} {plain(record.get('error', ''))}"
            yield Text(said.rstrip(), _STATUS.get(record["status"], ""))
