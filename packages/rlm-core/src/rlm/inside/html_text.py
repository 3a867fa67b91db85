"""Convert HTML to text for a model: tables become lines, lists become items, pictures and media become their names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_HIDDEN = {"script", "style", "head", "title", "template", "svg"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "br", "caption", "dd", "details", "div", "dl", "dt", "fieldset"),
    *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main"),
    *("nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
}
_EMBEDDED = {"img", "iframe", "video", "audio", "embed", "source"}
_SPACES = re.compile(r"\s+")


TABLE = "application/vnd.rlm.table"
"""The MIME type that holds the rows and columns of a displayed table, beside its text."""
_HEADING = re.compile(r"<th\b")
_ROWS_AND_COLUMNS = re.compile(r"(\d{1,12}) rows × (\d{1,9}) columns")  # pandas
_SHAPE = re.compile(r"shape: \((\d{1,12}), (\d{1,9})\)")  # polars
_SEARCHED = 200_000  # characters at the start and at the end that are searched


def table_size(html: str) -> list[int]:
    """Return the rows and columns of a table; empty if it is not a table.

    A library that truncates a long table states its size.
    """
    start, end = html[:_SEARCHED], html[-_SEARCHED:]
    if "<table" not in start:
        return []
    for pattern, text in ((_ROWS_AND_COLUMNS, end), (_SHAPE, start)):
        if said := pattern.search(text):
            return [int(said[1]), int(said[2])]
    body = start.partition("<tbody")[2] or start
    first = body.partition("</tr>")[0]  # a heading cell in it holds the index
    rows, columns, headings = body.count("<tr"), first.count("<td"), len(_HEADING.findall(first))
    return [rows, columns] if columns or not headings else [rows - 1, headings]


def html_text(html: str) -> str:
    """Return the text of a page. Empty if it contains only what a browser would run or draw."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    parser.end_line()
    return "\n".join(parser.lines)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._line = ""
        self._hidden: list[str] = []
        self._cells = 0  # in the current row so far
        self._exact = 0

    def end_line(self) -> None:
        line = self._line if self._exact else self._line.strip()
        self._line = ""
        if line.strip(" |"):
            self.lines.append(line.rstrip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden.append(tag)
        if tag in _BLOCKS:
            self.end_line()
        if tag == "li":
            self._line = "- "
        elif tag == "tr":
            self._cells = 0
        elif tag in {"td", "th"}:
            self._line += " | " if self._cells else ""
            self._cells += 1
        elif tag in _EMBEDDED and not self._hidden:
            self._line += _embedded(tag, dict(attrs))
        self._exact += tag == "pre"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in self._hidden:
            self._hidden.remove(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            self._hidden.remove(tag)
        if tag in _BLOCKS:
            self.end_line()
        if tag == "pre" and self._exact:
            self._exact -= 1

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if not self._exact:
            self._line += _SPACES.sub(" ", data) if self._line[-1:].strip() else _SPACES.sub(" ", data).lstrip()
            return
        first, *rest = data.split("\n")
        self._line += first
        for line in rest:
            self.end_line()
            self._line = line


def _embedded(tag: str, attributes: dict[str, str | None]) -> str:
    """Name an embedded element by its text or address. One whose data is in the page has no address."""
    source = attributes.get("src") or ""
    name = attributes.get("alt") or ("" if source.startswith("data:") else source)
    return f"[{tag}: {name}]" if name else f"[{tag}]"
