"""HTML by construction: a string is always text, and only what was made here is markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name

from rlm.terminal import plain

HIGHLIGHTED = 50_000
"""Characters of code; longer code is shown as it is, for highlighting is slow."""

_FENCES = {"python": "python", "py": "python", "bash": "bash", "sh": "bash", "json": "json", "diff": "diff"}
"""What a model calls the languages that are highlighted."""
_VOID = frozenset({"meta", "img", "br", "rect"})
_NAME = re.compile(r"[a-z][a-z0-9-]*", re.IGNORECASE)


class Html(str):
    """Markup, not to be escaped again."""

    __slots__ = ()


Child = str | Iterable[str] | None
"""Text, markup, several of them, or nothing."""


def escape(text: str) -> Html:
    """Text as markup; without what a terminal obeys, too, for it would deceive a reader here no less."""
    return text if isinstance(text, Html) else Html(html.escape(plain(text)))


def join(children: Iterable[Child]) -> Html:
    return Html("".join(_markup(child) for child in children))


def _markup(child: Child) -> str:
    if child is None:
        return ""
    return escape(child) if isinstance(child, str) else join(child)


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """An element. In attribute names a trailing `_` is dropped and others become `-`; None and False leave it out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    opening = f"<{name}{written}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def _attribute(key: str, value: str | float | bool | None) -> str:
    name = key.removesuffix("_").replace("_", "-")
    assert _NAME.fullmatch(name), name
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def code(text: str, language: str) -> Html:
    """A program with its syntax marked by classes."""
    text = plain(text)
    if len(text) > HIGHLIGHTED:
        return escape(text)
    return Html(highlight(text, _lexer(language), _formatter()).removesuffix("\n"))


@cache
def _lexer(language: str) -> Lexer:
    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


@cache
def _formatter() -> HtmlFormatter[str]:
    return HtmlFormatter(nowrap=True)


def markdown(text: str) -> Html:
    """What a model writes: headings, lists, tables and code. Nothing in it is live: no HTML, no link, no picture."""
    return Html(_parser().render(plain(text)))


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "highlight": _fence}).enable("table")
    parser.disable(["html_block", "html_inline", "image"])
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("link_close", _link_close)
    parser.add_render_rule("th_open", _plain_cell)
    parser.add_render_rule("td_open", _plain_cell)
    return parser


def _fence(text: str, language: str, _attributes: str) -> str:
    name = _FENCES.get(language)
    return tag("pre", tag("code", code(text, name) if name else text), class_="code")


def _link_open(_self: object, tokens: list[Token], place: int, *_: object) -> str:
    return f'<span class="link" title="{escape(str(tokens[place].attrGet("href") or ""))}">'


def _link_close(*_: object) -> str:
    return "</span>"


def _plain_cell(_self: object, tokens: list[Token], place: int, *_: object) -> str:
    return f"<{tokens[place].tag}>"  # its alignment is an inline style, which the page's policy refuses
