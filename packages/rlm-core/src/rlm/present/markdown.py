"""Markdown for a terminal, lightly: headings, emphasis, lists, tables and code, wrapped between words.

There are no frames and no backgrounds, and code is neither indented nor wrapped: text copied from the screen equals the
model's text. A word that is wider than the terminal stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat, zip_longest
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rlm.text.styled import NARROWEST, Span, Style, columns, highlighted, painted, split_lines, wrap_words
from rlm.text.terminal import plain

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

LONGEST = 200_000
"""Characters. A longer text is not read on a screen, and stays unformatted."""

Line = Sequence[Span]


def render_markdown(text: str, width: int, *, color: bool) -> str:
    """The lines of `text` for a terminal of `width` columns, without a newline at the end.

    All control sequences are removed; only the colours of this module are added, if `color`. Without colours, the marks
    of headings and of code stay.
    """
    text = plain(text)
    if len(text) > LONGEST:
        return text
    from markdown_it.tree import SyntaxTreeNode

    tree = SyntaxTreeNode(_parser().parse(text))
    lines = _Renderer(color).blocks(tree.children, max(NARROWEST, width))
    return "\n".join(painted(line, color=color).rstrip() for line in lines)


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    return parser.disable("text_join")  # keeps escaped characters recognisable: see _Renderer._inline


@dataclass(frozen=True, slots=True)
class _Renderer:
    """Each method yields lines that fit into `width` columns if possible."""

    color: bool

    def blocks(self, nodes: Sequence[SyntaxTreeNode], width: int, *, tight: bool = False) -> list[Line]:
        lines: list[Line] = []
        for node in nodes:
            if lines and not tight:
                lines.append(())
            lines += self._block(node, width)
        return lines

    def _block(self, node: SyntaxTreeNode, width: int) -> Iterator[Line]:
        match node.type:
            case "heading":
                mark = () if self.color else (Span(f"{'#' * int(node.tag[1:])} "),)
                yield from wrap_words((*mark, *self._inline(node.children[0], Style.BOLD)), width)
            case "fence" | "code_block":
                yield from self._code(node)
            case "hr":
                yield (Span("─" * min(width, 40), Style.DIM),)
            case "paragraph":
                yield from self._lines(node, width)
            case "bullet_list" | "ordered_list":
                yield from self._list(node, width)
            case "table":
                yield from self._table(node, width)
            case _:  # a quotation
                for line in self.blocks(node.children, width - 2):
                    yield (Span("│ ", Style.DIM), *line)

    def _lines(self, node: SyntaxTreeNode, width: int) -> Iterator[Line]:
        """The lines of a paragraph; its line breaks are kept."""
        for line in _split(self._within(node, Style.PLAIN)):
            yield from wrap_words(line, width)

    def _code(self, node: SyntaxTreeNode) -> Iterator[Line]:
        language = node.info.split()[0] if node.type == "fence" and node.info.split() else ""
        code = node.content.rstrip("\n")
        if not (self.color and language):
            return _split([Span(code)])
        from pygments.util import ClassNotFound

        try:
            return _split([Span(text, style) for style, text in highlighted(code, language)])
        except ClassNotFound:
            return _split([Span(code)])

    def _list(self, node: SyntaxTreeNode, width: int) -> Iterator[Line]:
        tight = all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")
        first = int(node.attrs.get("start", 1))
        for number, item in enumerate(node.children, first):
            mark = f"{number}. " if node.type == "ordered_list" else "• "
            if number > first and not tight:
                yield ()
            lines = self.blocks(item.children, width - len(mark), tight=tight) or [()]
            for edge, line in zip(chain([mark], repeat(" " * len(mark))), lines, strict=False):
                yield (Span(edge), *line)

    # ---- tables

    def _table(self, node: SyntaxTreeNode, width: int) -> Iterator[Line]:
        rows = [
            [
                tuple(self._inline(cell.children[0], Style.BOLD if cell.type == "th" else Style.PLAIN))
                if cell.children
                else ()
                for cell in row.children
            ]
            for part in node.children
            for row in part.children
        ]
        right = [cell.attrs.get("style") == "text-align:right" for cell in node.children[0].children[0].children]
        widths = _widths(rows, width - 2 * (len(right) - 1))
        if widths is None:
            yield from _as_list(rows, width)
            return
        for number, row in enumerate(rows):
            yield from _table_row(row, widths, right)
            if number == 0:
                yield (Span("  ".join("─" * each for each in widths), Style.DIM),)

    # ---- within a line

    def _inline(self, node: SyntaxTreeNode, style: Style) -> Iterator[Span]:
        match node.type:
            case "softbreak" | "hardbreak":
                yield Span("\n")
            case "code_inline":
                yield Span(node.content if self.color else f"`{node.content}`", Style.CYAN)
            case "text_special":  # `\*` is an asterisk, but `\[` and `\(` begin a formula
                yield Span(node.markup if node.markup in _FORMULAS else node.content, style)
            case "image":
                yield Span(f"{node.content} → {_url(node, 'src')}".lstrip(), style)
            case "link":
                yield from self._link(node, style)
            case "text":
                yield Span(node.content, style)
            case _:
                yield from self._emphasis(node, style)

    def _emphasis(self, node: SyntaxTreeNode, style: Style) -> Iterator[Span]:
        styles = {"strong": Style.BOLD, "em": Style.ITALIC, "inline": style}
        if node.type in styles and not _is_inside_a_word(node):
            yield from self._within(node, styles[node.type])
        else:
            yield from (Span(node.markup, style), *self._within(node, style), Span(node.markup, style))

    def _within(self, node: SyntaxTreeNode, style: Style) -> Iterator[Span]:
        for child in node.children:
            yield from self._inline(child, style)

    def _link(self, node: SyntaxTreeNode, style: Style) -> Iterator[Span]:
        spans = list(self._within(node, style))
        yield from spans
        if (url := _url(node, "href")) not in ("".join(span.text for span in spans), ""):
            yield from (Span(" (", style), Span(url, Style.DIM), Span(")", style))


_FORMULAS = (r"\[", r"\]", r"\(", r"\)")


def _url(node: SyntaxTreeNode, name: str) -> str:
    """The URL as the model wrote it: the parser percent-encodes non-ASCII characters."""
    return unquote(str(node.attrs[name]))


def _is_inside_a_word(emphasis: SyntaxTreeNode) -> bool:
    """Whether the emphasis is inside a word: `2*3*4` is a product."""
    before, after = emphasis.previous_sibling, emphasis.next_sibling
    return bool(before and before.content[-1:].isalnum() and after and after.content[:1].isalnum())


def _split(spans: Sequence[Span] | Iterator[Span]) -> Iterator[Line]:
    return split_lines(Span(span.text.expandtabs(), span.style) for span in spans)


# ---- tables: cells are wrapped; if a table still does not fit, it becomes a list


def _measure(line: Line) -> int:
    return sum(columns(span.text) for span in line)


def _widths(rows: Sequence[Sequence[Line]], room: int) -> list[int] | None:
    """The width of each column of a table; None if the terminal is too narrow."""
    wide = [max(map(_measure, column)) for column in zip(*rows, strict=True)]
    least = [max(_longest_word(cell) for cell in column) for column in zip(*rows, strict=True)]
    if sum(least) > room:
        return None
    while (excess := sum(wide) - room) > 0:
        place = max((at for at in range(len(wide)) if wide[at] > least[at]), key=wide.__getitem__)
        others = sorted((each for at, each in enumerate(wide) if at != place and wide[at] > least[at]), reverse=True)
        floor = max(least[place], others[0] - 1 if others else 0)
        wide[place] = max(floor, wide[place] - excess)
    return wide


def _longest_word(cell: Line) -> int:
    """The longest word, or the whole cell if it is as short as a word: numbers with units are not wrapped."""
    text = "".join(span.text for span in cell)
    return columns(text) if columns(text) <= 8 else max((columns(word) for word in text.split()), default=0)


def _table_row(row: Sequence[Line], widths: Sequence[int], right: Sequence[bool]) -> Iterator[Line]:
    cells = [list(wrap_words(cell, width)) for cell, width in zip(row, widths, strict=True)]
    for pieces in zip_longest(*cells, fillvalue=()):
        line: list[Span] = []
        for piece, width, at_right in zip(pieces, widths, right, strict=True):
            space = Span(" " * (width - _measure(piece)))
            line += [space, *piece, Span("  ")] if at_right else [*piece, space, Span("  ")]
        yield line


def _as_list(rows: Sequence[Sequence[Line]], width: int) -> Iterator[Line]:
    """A table that is too wide, as a list: one line `heading: cell` per cell."""
    heads, *records = rows
    for number, record in enumerate(records):
        if number:
            yield ()
        for head, cell in zip(heads, record, strict=True):
            yield from wrap_words((*head, Span(": ", Style.BOLD), *cell), width)
