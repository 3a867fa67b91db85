"""Rebuilds the table of a display's HTML from rows, cells and text. All other elements and attributes are dropped.

A cell wrote the HTML, so nothing of it is copied. The effects of its style sheets and scripts are lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from rlm.present.export.markup import Child, element, tag

CELLS = 20_000
"""Maximum number of cells; a larger table is shown as text only."""

_HIDDEN = frozenset({"script", "style", "head", "title", "template", "svg"})
_WIDEST = 1_000  # maximum columns or rows that a cell may span


@dataclass(slots=True)
class _Cell:
    name: str
    columns: int | None
    rows: int | None
    text: str = ""


@dataclass(slots=True)
class _Row:
    in_head: bool
    cells: list[_Cell] = field(default_factory=list)


def table_markup(html: str) -> Child:
    """Rebuild a table; None if there is none, or it is too large."""
    reader = _TableReader()
    reader.feed(html)
    reader.close()
    rows = [row for row in reader.rows if row.cells]
    if not rows or sum(len(row.cells) for row in rows) > CELLS:
        return None
    head = [row for row in rows if row.in_head]
    body = [row for row in rows if not row.in_head]
    sections = [tag(name, map(_row, part)) for name, part in (("thead", head), ("tbody", body)) if part]
    beside = " ".join(reader.beside.split())
    said = tag("p", beside, class_="soft") if beside else None
    return element("div", tag("table", sections), said, class_="frame", tabindex=0)


def _row(row: _Row) -> Child:
    return element("tr", (_cell(cell) for cell in row.cells))


def _cell(cell: _Cell) -> Child:
    return element(cell.name, cell.text.strip(), colspan=cell.columns, rowspan=cell.rows)


class _TableReader(HTMLParser):
    """Accepts missing end tags, as a browser does. A table in a cell becomes text of the cell."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[_Row] = []
        self.beside = ""
        """Text outside of the table, such as its number of rows."""
        self._in_head = False
        self._cell: _Cell | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        if tag in ("thead", "tbody", "tfoot"):
            self._in_head, self._cell = tag == "thead", None
        elif tag == "tr":
            self.rows.append(_Row(self._in_head))
            self._cell = None
        elif tag in ("td", "th") and self.rows:
            attributes = dict(attrs)
            self._cell = _Cell(tag, _span(attributes.get("colspan")), _span(attributes.get("rowspan")))
            self.rows[-1].cells.append(self._cell)
        elif self._cell is not None and tag in ("br", "div", "p", "li"):
            self._cell.text += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in ("td", "th", "tr", "table"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._cell is not None:
            self._cell.text += data
        else:
            self.beside += data


def _span(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() and 1 < int(value[:9]) <= _WIDEST else None
