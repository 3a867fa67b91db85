"""`rlm ls` and `rlm show`: sessions in a terminal. All foreign text is cleaned here by `rlm.text.terminal.plain`.

A line is written as soon as it is known, so a session of any length needs the memory of one turn.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from rlm.core.messages import Wire
from rlm.present.describe import (
    LANGUAGES,
    UNREADABLE,
    USER_CELL,
    describe,
    prompt_size,
    speaker,
    status_style,
    status_text,
    turn_name,
)
from rlm.present.diffs import diff_lines, diff_summary, edit_diff, has_diff, line_style, painted_diff
from rlm.present.humanize import ago, cost, count, lineage, many, seconds, tokens
from rlm.present.outcomes import outcome_of
from rlm.sessions.meta import RUNNING, Meta
from rlm.sessions.records import Record, ResultRecord, UserCellRecord
from rlm.sessions.store import ListedSession, SessionTree
from rlm.sessions.transcript import Item, TextItem, TranscriptCall, Turn, build, user_call
from rlm.text.styled import Canvas, Span, Style, clip, columns, highlighted
from rlm.text.terminal import plain

LINES = 24
"""Maximum lines of an output, unless the whole is requested."""
LONGEST = 2_000
"""Maximum characters of a line of an output, unless the whole is requested."""


# ---- rlm ls


def listed_wire(listed: ListedSession) -> Wire:
    """A session as `rlm ls --json` prints it: its meta.json with a checked status, its folder and its owner."""
    return listed.meta.wire() | {"folder": str(listed.folder), "foreign": listed.foreign}


def listed_line(listed: ListedSession, now: float | None = None) -> str:
    """A session as one line, for a message."""
    table = _table([listed], time.time() if now is None else now)
    return "  ".join(table[title][0] for title in ("id", "age", "status", "task"))


_COLUMNS = ("id", "age", "status", "turns", "agents", "tokens", "cost", "time", "folder", "task")
_TO_THE_RIGHT = ("turns", "agents", "tokens", "cost", "time")
_GAP = "  "
_LEAST = 16
"""Minimum columns for the task. On a narrow terminal, the columns below are removed in this order:"""
_FIRST_TO_GO = ("folder", "agents", "tokens", "cost", "turns", "time")
_SAME = (*_FIRST_TO_GO, "status")
"""Columns that are removed first, if they have the same value in every row."""


def show_list(sessions: Sequence[ListedSession], canvas: Canvas, now: float | None = None) -> None:
    """Print a table in the given order, newest first. Short columns are shown whole; the task gets the rest."""
    table = _table(sessions, time.time() if now is None else now)
    priced = any(listed.meta.tree_usage.cost is not None for listed in sessions)  # if no cost is known, no column
    shown = [title for title in _COLUMNS if priced or title != "cost"]
    same = [title for title in _SAME if title in shown and len(sessions) > 1 and _is_same(title, table[title])]
    widest = {title: max(map(columns, (title, *table[title]))) for title in shown}
    widths = _fitted(widest, same, canvas.width)
    canvas.put_line([Span(_line({title: title for title in widths}, widths).rstrip(), Style.DIM)])
    before = {title: widths[title] for title in ("id", "age")}
    status = {title: widths[title] for title in ("status",) if title in widths}
    after = {title: width for title, width in widths.items() if title not in (*before, *status)}
    for number, listed in enumerate(sessions):
        row = {title: table[title][number] for title in widths}
        style = status_style(listed.meta.status)
        canvas.put_line([Span(_line(row, before)), Span(_line(row, status), style), Span(_line(row, after))])


def _table(sessions: Sequence[ListedSession], now: float) -> dict[str, list[str]]:
    """The cells by column, as text and not as spans: there may be thousands of sessions."""
    metas = [listed.meta for listed in sessions]
    usages = [meta.tree_usage for meta in metas]
    folders = {cwd: clean(cwd) for cwd in {meta.cwd for meta in metas}}
    return {
        "id": [listed.name for listed in sessions],
        "age": [ago(now - meta.updated_time) for meta in metas],
        "status": [_status(listed.meta, foreign=listed.foreign) for listed in sessions],
        "turns": [str(meta.turns) for meta in metas],
        "agents": [f"{meta.metrics.get('agents', 1):.0f}" for meta in metas],
        "tokens": [count(usage.prompt + usage.completion) for usage in usages],
        "cost": [cost(usage) for usage in usages],
        "time": [seconds(_duration(meta, now)) for meta in metas],
        "folder": [folders[meta.cwd] for meta in metas],
        "task": [clean(meta.prompt_preview) for meta in metas],
    }


def _is_same(title: str, texts: Iterable[str]) -> bool:
    """Whether all rows have the same value. For a status, it must also be the usual one."""
    values = set(texts)
    return len(values) == 1 and (title != "status" or values == {"done"})


def _fitted(widths: dict[str, int], same: Sequence[str], whole: int) -> dict[str, int]:
    """The widths of the columns, together at most `whole` if possible. If needed, half of it belongs to the task."""

    def left() -> int:
        return whole - sum(widths.values()) - len(_GAP) * len(widths)

    task = widths.pop("task")
    widths["folder"] = min(widths["folder"], 30, max(_LEAST // 2, (left() + widths["folder"]) // 3))
    for title in same:
        if left() < min(task, whole // 2):
            del widths[title]
    for title in _FIRST_TO_GO:
        if left() < _LEAST:
            widths.pop(title, None)
    return widths | {"task": max(left(), _LEAST // 2)}


def _line(row: Mapping[str, str], widths: Mapping[str, int]) -> str:
    return "".join(_cell(row[title], width, title) for title, width in widths.items())


def _cell(text: str, width: int, title: str) -> str:
    if columns(text) > width:
        text = clip(text, width)
    width -= columns(text) - len(text)  # for characters that take two columns, or none
    return (text.rjust(width) if title in _TO_THE_RIGHT else text.ljust(width)) + _GAP


def _duration(meta: Meta, now: float) -> float:
    """The duration in seconds; of a running session, until now."""
    took = meta.metrics.get("duration", 0.0)
    return took + max(0.0, now - meta.updated_time) if meta.status == RUNNING else took


def _status(meta: Meta, *, foreign: bool = False) -> str:
    return clean(("foreign, " if foreign else "") + status_text(meta))


def clean(text: str) -> str:
    """Convert foreign text to one line without terminal control sequences and repeated blanks."""
    return " ".join(plain(text).split())


# ---- rlm show

_NO_EDGE = Span("")
_GOES_ON = Span("↪ ", Style.DIM)


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines with an edge on their left."""

    spans: Sequence[Span]
    edge: Span = _NO_EDGE
    goes_on: Span | None = None
    """The edge of the continuation of a line that is too long."""


@dataclass(frozen=True, slots=True)
class Inset:
    """Blocks that share one more edge."""

    blocks: Iterable[Block | Inset]
    edge: Span


def show_tree(tree: SessionTree, canvas: Canvas, *, whole: bool = False, failed: Collection[str] | None = None) -> None:
    """Print the session and all agents below it, each agent under the call that started it.

    `whole`: outputs are not truncated. `failed`: only the failures of these agents.
    """
    canvas.put(_head(tree))
    draw(TreeRenderer(LINES if not whole else None, color=canvas.color, failed=failed).agent(tree), canvas)


def draw(blocks: Iterable[Block | Inset], canvas: Canvas, edge: Sequence[Span] = ()) -> None:
    """Write the blocks. Agents may be nested deeply, so this function uses its own stack instead of recursion."""
    rest = [(iter(blocks), tuple(edge))]
    while rest:
        blocks, edges = rest[-1]
        each = next(blocks, None)
        if each is None:
            rest.pop()
        elif isinstance(each, Inset):
            rest.append((iter(each.blocks), (*edges, each.edge)))
        else:
            canvas.put(each.spans, (*edges, each.edge), each.goes_on)


def _head(tree: SessionTree) -> list[Span]:
    meta = tree.meta
    agents = f"{meta.metrics.get('agents', 1):.0f} agents · " if tree.children else ""
    spent = f"{many(meta.turns, 'turn')} · {agents}{tokens(meta.tree_usage, cached=True)}"
    spent += f" · {price}" if (price := cost(meta.tree_usage)) else ""
    took = seconds(meta.metrics.get("duration", 0.0))
    first = [
        Span(tree.folder.name, Style.BOLD),
        Span("  "),
        Span(_status(meta), status_style(meta.status)),
        Span("  "),
        Span(clean(meta.model)),
    ]
    where = [] if meta.depth else [Span("\n"), Span(plain(str(tree.folder)), Style.DIM)]
    return [*first, Span(f"  {spent} · {took}"), *where]


class TreeRenderer:
    """How a tree is drawn: outputs are truncated to `lines` (None: not at all); `color` highlights code.

    `failed`: show only failed calls, these agents with their ancestors, and other problems.
    """

    def __init__(self, lines: int | None, *, color: bool, failed: Collection[str] | None = None) -> None:
        self._lines = lines
        self._color = color
        self._failed = None if failed is None else {above for agent in failed for above in lineage(agent)}

    def agent(self, tree: SessionTree) -> Iterator[Block | Inset]:
        """Draw what an agent said and did, each sub-agent below the call that started it."""
        placed: set[str] = set()
        turns: list[int] = []
        records = tree.records()
        for item in build(records):
            if self._failed is None or isinstance(item, Turn) or _is_trouble(item, turns):
                yield from self.item(item, tree, turns)
            if isinstance(item, Turn):
                turns += [item.id] if item.number else []
                placed.update(name for call in item.calls for name in call.children)
        for child in tree.children:
            if child.folder.name not in placed and self._wants(child):
                yield self._child(child)
        if not records.whole:
            yield Block([Span(UNREADABLE, Style.RED)])

    def _wants(self, child: SessionTree) -> bool:
        return self._failed is None or child.agent in self._failed

    def item(self, item: Item, tree: SessionTree, turns: Sequence[int]) -> Iterator[Block | Inset]:
        """Draw an item. `turns` are the record ids of the turns before it."""
        match item:
            case Turn():
                yield from self._turn(item, tree)
            case TextItem(kind="system") if tree.meta.depth:
                pass  # much like the parent's prompt
            case TextItem(kind="system"):
                yield Block([Span(f"\n{prompt_size(item)}", Style.DIM)])
            case TextItem():
                pictures = f"  {many(len(item.pictures), 'picture')}" if item.pictures else ""
                yield Block([Span(f"\n{plain(speaker(item))}", Style.BOLD_BLUE), Span(pictures, Style.DIM)])
                if item.text.strip():
                    yield self.text(item.text)
            case UserCellRecord():
                yield Block([Span(f"\n{USER_CELL}", Style.BOLD_BLUE)])
                yield from self._call(user_call(item), tree)
            case ResultRecord(error="") if tree.meta.depth:
                pass  # the agent's first line says so
            case _:
                yield from described(item, turns)

    def _turn(self, turn: Turn, tree: SessionTree) -> Iterator[Block | Inset]:
        calls = turn.calls
        if self._failed is not None:
            calls = tuple(call for call in calls if self._is_wanted(call, tree))
            if not calls:
                return
        took = seconds(turn.ended - turn.started) if turn.ended > turn.started else ""
        spent = f"  {tokens(turn.usage, cached=True)}  {took}"
        yield Block([Span(f"\n{turn_name(turn)}", Style.BOLD), Span(spent, Style.DIM)])
        if turn.text.strip():
            yield Block([Span(plain(turn.text.strip()))])
        for call in calls:
            yield from self._call(call, tree)

    def _is_wanted(self, call: TranscriptCall, tree: SessionTree) -> bool:
        children = (child for name in call.children if (child := tree.child(name)))
        return bool(outcome_of(call).failure) or any(map(self._wants, children))

    def _call(self, call: TranscriptCall, tree: SessionTree) -> Iterator[Block | Inset]:
        yield Block(_call_head(call))
        yield Block(_code(call, color=self._color), Span("│ ", Style.CYAN), _GOES_ON)
        for name in call.children:
            child = tree.child(name)
            if child is None:
                yield Block([Span(f"  {plain(name)} is gone", Style.DIM)])
            elif self._wants(child):
                yield self._child(child)
        if call.content.strip():
            style = Style.RED if call.ok is False else Style.PLAIN
            yield self.text(call.content.rstrip(), style, Span("  "))

    def _child(self, child: SessionTree) -> Inset:
        return Inset(chain([Block(_head(child))], self.agent(child)), Span("  │ ", Style.MAGENTA))

    def text(self, text: str, style: Style = Style.PLAIN, edge: Span = _NO_EDGE) -> Block:
        """The head and tail of a long text, and of each long line."""
        styles = [line_style(kind, style) for kind, _ in diff_lines(text)] if has_diff(text) else []
        if self._lines is None:
            return Block(list(_all_lines(text.split("\n"), styles or repeat(style), None)), edge)
        return Block([*_shortened(text, self._lines, styles, style)], edge)


def _is_trouble(item: Item, turns: Sequence[int]) -> bool:
    """Whether a record outside of turns reports a problem."""
    said = describe(item, turns) if isinstance(item, Record) else None
    return said is not None and said.style in (Style.RED, Style.YELLOW)


def _shortened(text: str, most: int, styles: list[Style], style: Style) -> Iterator[Span]:
    """Shorten a text. `styles` are the styles of its lines, if they differ."""
    half = most // 2
    missing = text.count("\n") + 1 - most
    if missing <= 0:
        yield from _all_lines(text.split("\n"), styles or repeat(style))
        return
    yield from _all_lines(text.split("\n", half)[:half], styles or repeat(style))
    yield Span(f"\n… {many(missing, 'line')} more …\n", Style.DIM_ITALIC)
    yield from _all_lines(text.rsplit("\n", half)[-half:], styles[-half:] or repeat(style))


def _all_lines(lines: list[str], styles: Iterable[Style], longest: int | None = LONGEST) -> Iterator[Span]:
    for number, (line, style) in enumerate(zip(lines, styles, strict=False)):
        before = "\n" if number else ""
        missing = 0 if longest is None else len(line) - longest
        if missing <= 0:
            yield Span(before + plain(line), style)
            continue
        yield Span(before + plain(line[: LONGEST // 2]), style)
        yield Span(f" … {many(missing, 'character')} more … ", Style.DIM_ITALIC)
        yield Span(plain(line[-LONGEST // 2 :]), style)


def _call_head(call: TranscriptCall) -> list[Span]:
    outcome = outcome_of(call)
    if outcome.failure and not outcome.is_error:
        sign = Span(outcome.failure, Style.YELLOW)
    else:
        sign = {True: Span("✓", Style.GREEN), False: Span("✗", Style.RED), None: Span("…", Style.DIM)}[call.ok]
    took = seconds(call.ended - call.started) if call.ended is not None and call.started is not None else ""
    shows = f"  {said}" if (said := diff_summary(call.content)) else ""
    return [sign, Span(f" {plain(call.tool)}", Style.CYAN), Span(f"  {took}{shows}", Style.DIM)]


HIGHLIGHTED = 50_000
"""Maximum characters of code. Longer code is shown without colours, because highlighting is slow."""


def _code(call: TranscriptCall, *, color: bool) -> Sequence[Span]:
    if diff := edit_diff(call):
        return painted_diff(plain(diff))
    code, language = plain(call.code), LANGUAGES.get(call.tool)
    if not code or language is None:
        return [Span(code or plain(call.arguments))]
    code = code.rstrip()
    if not color or len(code) > HIGHLIGHTED:
        return [Span(code)]
    return [Span(text, style) for style, text in highlighted(code, language)]


def described(record: Record, turns: Sequence[int]) -> Iterator[Block]:
    """The block of a record that has a text of its own."""
    if (said := describe(record, turns)) is not None:
        yield Block([Span(f"\n{plain(str(said)).rstrip()}", said.style)])
