"""Builds HTML from values: a string is always text, and only the values created here are markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import format as formatted
from pygments.formatters import HtmlFormatter

from rlm.text.code_tokens import tokens
from rlm.text.terminal import plain

FORMATTED = 200_000
"""Maximum characters of Markdown.

A longer text is shown unformatted: its parse tree would need 100 times its memory.
"""
HIGHLIGHTED = 50_000
"""Maximum characters of code. Longer code is shown without colours, because highlighting is slow."""

_FENCES = {"python": "python", "py": "python", "bash": "bash", "sh": "bash", "json": "json", "diff": "diff"}
"""Names of the highlighted languages, as models write them."""
_VOID = frozenset({"meta", "img", "br", "rect"})
_NAME = re.compile(r"[a-z][a-z0-9-]*", re.IGNORECASE)


class Html(str):
    """Markup that must not be escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"
"""Text, markup, several of them, or nothing."""


def escape(text: str) -> Html:
    """Escape a text, and remove terminal control characters, which would mislead a reader of the page too."""
    return text if isinstance(text, Html) else Html(html.escape(plain(text)))


def pieces(*children: Child) -> Iterator[Html]:
    """Yield markup in pieces. Children are evaluated one after the other, at any depth of nesting."""
    rest: list[Iterator[Child]] = [iter(children)]
    while rest:
        for child in rest[-1]:
            if isinstance(child, str):
                yield escape(child)
            elif child is not None:
                rest.append(iter(child))
                break
        else:
            rest.pop()


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """Build an element. In attribute names a trailing `_` is dropped and others become `-`; None and False omit it."""
    return Html("".join(pieces(element(name, *children, **attributes))))


def element(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Iterator[Child]:
    """As `tag`, for `pieces`: each part is created when it is written."""
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    yield Html(f"<{name}{written}>")
    if name not in _VOID:
        yield children
        yield Html(f"</{name}>")


def _attribute(key: str, value: str | float | bool | None) -> str:
    name = key.removesuffix("_").replace("_", "-")
    assert _NAME.fullmatch(name), name
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def code(text: str, language: str) -> Html:
    """A program whose syntax is marked by classes."""
    text = plain(text)
    if len(text) > HIGHLIGHTED:
        return escape(text)
    return Html(formatted(tokens(text, language), _formatter()).removesuffix("\n"))


@cache
def _formatter() -> HtmlFormatter[str]:
    return HtmlFormatter(nowrap=True)


def markdown(text: str) -> Html:
    """Format a model's Markdown: headings, lists, tables and code, but no HTML, links or pictures."""
    if len(text) > FORMATTED:
        return tag("pre", text)
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
    return f"<{tokens[place].tag}>"  # drops the alignment: it is an inline style, which the page's policy refuses
