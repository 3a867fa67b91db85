"""A session as one page: self-contained, usable offline, without active content from a model or a program."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby
from operator import itemgetter

from rlm.core.messages import Usage
from rlm.present.describe import (
    LANGUAGES,
    UNREADABLE,
    USER_CELL,
    describe,
    first_line,
    prompt_size,
    speaker,
    status_text,
    turn_name,
)
from rlm.present.diffs import diff_lines, diff_summary, edit_diff, has_diff
from rlm.present.export.markup import Child, Html, code, element, escape, markdown, pieces, tag
from rlm.present.export.outputs import saved_pictures, split_uri, with_tables
from rlm.present.export.table_markup import table_markup
from rlm.present.export.timeline import timeline
from rlm.present.humanize import cost, count, many, seconds, tokens
from rlm.present.outcomes import outcome_of
from rlm.sessions import journal
from rlm.sessions.records import ResultRecord, UserCellRecord
from rlm.sessions.store import SessionTree
from rlm.sessions.transcript import Item, TextItem, TranscriptCall, Turn, build, user_call
from rlm.text.clip import clip
from rlm.text.styled import Style

OUTPUT = 200_000
"""Maximum characters of a result in the page; the session holds all of it."""
SHORT = 40
"""Lines of a result that are visible without unfolding it."""


def page(tree: SessionTree) -> Iterator[str]:
    """Yield the page in pieces."""
    style = _resource("page.css")
    script = _resource("page.js")
    title = tree.meta.prompt_preview or f"Session {tree.folder.name}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{title} · rlm"),
        tag("style", Html(style)),
    )
    body = element("body", _header(tree, title), _answers(tree), timeline(tree), _transcript(tree), _footer(tree))
    whole = element("html", head, body, tag("script", Html(script)), lang="en")
    return pieces(Html("<!doctype html>\n"), whole, "\n")


def _resource(name: str) -> str:
    return files("rlm.present.export").joinpath(name).read_text(encoding="utf-8")  # by path: our own


def _policy(style: str, script: str) -> str:
    """The content security policy: only the page's own style and script, and embedded pictures."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _header(tree: SessionTree, title: str) -> Html:
    meta = tree.meta
    agents = sum(1 for _ in tree.walk())
    usage = sum((each.meta.usage for each in tree.walk()), Usage())
    when = datetime.fromtimestamp(meta.start_time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = (meta.model, many(meta.turns, "turn"), many(agents, "agent"), tokens(usage, cached=True), cost(usage))
    return tag(
        "header",
        tag("div", f"rlm session {tree.folder.name}", class_="meta mono"),
        tag("h1", title),
        tag(
            "div",
            _pill(tree),
            *(tag("span", fact) for fact in facts if fact),
            tag("span", seconds(meta.metrics.get("duration", 0.0))),
            tag("span", when),
            class_="facts",
        ),
    )


def _pill(tree: SessionTree) -> Html:
    return tag("span", status_text(tree.meta), class_=f"pill {tree.meta.status}")


def _answers(tree: SessionTree) -> Iterator[Child]:
    """The answer of each run of the session; only the last one is unfolded."""
    ends = list(journal.records_of(tree.folder, ResultRecord))
    for number, end in enumerate(ends, 1):
        name = "Answer" if end.status == "done" else "So far"
        if number == len(ends):
            yield from (tag("h2", name if number == 1 else f"{name}, run {number}"), *_answer(end))
        else:
            summary = tag("summary", tag("b", f"{name}, run {number}: "), first_line(end.answer or end.error))
            yield element("details", summary, _answer(end), class_="think")


def _answer(end: ResultRecord) -> Iterator[Child]:
    text = markdown(end.answer) if end.answer.strip() else tag("span", "no text", class_="soft")
    yield tag("div", text, class_="card answer md")
    if end.error:
        yield tag("p", end.error, class_="mark error")


def _footer(tree: SessionTree) -> Html:
    meta = tree.meta
    said = f"Created from {tree.folder.name}, which ran in {meta.cwd}"
    return tag("footer", said, f" with rlm {meta.version}" if meta.version else "", ". This page loads nothing.")


# ---- messages


def _transcript(tree: SessionTree) -> Child:
    keys = (tag("kbd", key) for key in "jkoc")
    return element(
        "main",
        tag("h2", "Transcript"),
        tag(
            "div",
            tag("span", "Keys: ", *keys, " next, previous, open, close", class_="soft keys"),
            tag("span", tag("button", "Open all", id="open"), " ", tag("button", "Close all", id="close")),
            class_="bar",
        ),
        element("section", _agent(tree), id=tree.agent),
    )


def _agent(tree: SessionTree) -> Iterator[Child]:
    placed: set[str] = set()
    turns: list[int] = []
    records = tree.records()
    for item in build(records):
        yield _item(item, tree, turns)
        if isinstance(item, Turn):
            turns += [item.id] if item.number else []
            placed.update(name for call in item.calls for name in call.children)
    yield (_child(child) for child in tree.children if child.folder.name not in placed)
    if not records.whole:
        yield tag("p", UNREADABLE, class_="mark error")


def _item(item: Item, tree: SessionTree, turns: Sequence[int]) -> Child:
    match item:
        case Turn():
            return _turn(item, tree)
        case TextItem(kind="system"):
            summary = tag("summary", prompt_size(item))
            return tag("details", summary, tag("pre", clip(item.text, OUTPUT, "the session")), class_="words think")
        case TextItem():
            return _text(item, tree)
        case UserCellRecord():
            header = tag("header", tag("span", USER_CELL, class_="who"))
            return element(
                "article", header, _call(user_call(item), tree), class_="words", id=f"{tree.agent}:{item.id}"
            )
        case _:
            said = describe(item, turns)
            return tag("p", str(said), class_=f"mark {_CLASSES.get(said.style, '')}") if said else None


def _text(item: TextItem, tree: SessionTree) -> Child:
    text = tag("pre", clip(item.text, OUTPUT, "the session"), class_="user") if item.text else ""
    pictures = (_picture(url, "shown to the model") for url in item.pictures)
    header = tag("header", tag("span", speaker(item), class_="who"))
    return element("article", header, text, pictures, class_="words", id=f"{tree.agent}:{item.id}", tabindex=-1)


def _turn(turn: Turn, tree: SessionTree) -> Child:
    place = f"{tree.agent}:{turn.id}"
    took = f"{seconds(turn.ended - turn.started)} · " if turn.ended > turn.started else ""
    cut = f" · {turn.finish}" if turn.finish not in ("stop", "tool_calls") else ""
    price = f" · {cost(turn.usage)}" if turn.usage.cost else ""
    spent = took + tokens(turn.usage, cached=True) + price + cut
    return element(
        "article",
        tag("header", tag("a", turn_name(turn), class_="no", href=f"#{place}"), tag("span", spent, class_="meta")),
        tag("details", tag("summary", "reasoning"), tag("div", markdown(turn.reasoning), class_="md"), class_="think")
        if turn.reasoning.strip()
        else "",
        tag("div", markdown(turn.text), class_="md") if turn.text.strip() else "",
        (_call(call, tree) for call in turn.calls),
        class_="turn",
        id=place,
        tabindex=-1,
    )


def _call(call: TranscriptCall, tree: SessionTree) -> Child:
    outcome = outcome_of(call)
    state = {True: "ok", False: "bad", None: "open"}[call.ok]
    if outcome.failure and not outcome.is_error:
        state = "warn"
    failure = tag("span", outcome.failure, class_="failure") if state == "warn" else ""
    took = seconds(call.ended - call.started) if call.started is not None and call.ended is not None else ""
    children = (tree.child(name) for name in call.children)
    return element(
        "section",
        tag("header", failure, tag("b", call.tool), tag("span", took), tag("span", diff_summary(call.content))),
        tag("pre", tag("code", _program(call)), class_="code"),
        (_child(child) for child in children if child),
        _output(call, tree),
        _pictures(call, tree),
        class_=f"cell {state}",
    )


def _program(call: TranscriptCall) -> Html:
    if diff := edit_diff(call):
        return code(f"{clip(diff, OUTPUT, 'the session')}\n", "diff")
    language = LANGUAGES.get(call.tool, "python")
    program = call.code
    return code(clip(program, OUTPUT, "the session"), language) if program else escape(clip(call.arguments, OUTPUT))


def _output(call: TranscriptCall, tree: SessionTree) -> Child:
    text = call.content.rstrip()
    if not text:
        return tag("div", "no result", class_="out soft") if call.ok is None else None
    shown = [_printed(piece, html) for piece, html in with_tables(clip(text, OUTPUT, "the session"), tree.folder)]
    lines = text.count("\n") + 1
    if lines <= SHORT and len(text) <= 100 * SHORT:
        return shown
    summary = f"{many(lines, 'line')}, {count(len(text))} characters"
    return tag("details", tag("summary", summary), shown, class_="more", open=call.ok is False)


def _printed(text: str, html: str) -> Child:
    """A piece of a result; `html` is the HTML of a table."""
    if not text.strip("\n"):
        return None
    return (html and table_markup(html)) or tag("pre", _with_diffs(text.strip("\n")), class_="out")


def _with_diffs(text: str) -> Child:
    """A text with its diffs coloured."""
    if not has_diff(text):
        return text
    groups = groupby(diff_lines(text), itemgetter(0))
    return (tag("span", "".join(f"{line}\n" for _, line in lines), class_=kind or None) for kind, lines in groups)


def _pictures(call: TranscriptCall, tree: SessionTree) -> Iterator[Child]:
    pictures = (_picture(uri, name) for name, uri in saved_pictures(call.content, tree.folder))
    first = next(pictures, None)
    if first is not None:
        yield element("div", first, pictures, class_="pictures")


def _picture(url: str, name: str) -> Html:
    """An embedded picture; a picture that would be loaded from elsewhere is only named."""
    parts = split_uri(url)
    if parts is None:
        return tag("p", f"A picture that is not shown here: {clip(url, 100)}", class_="soft")
    return tag("img", src=f"data:{parts[0]};base64,{parts[1]}", alt=name, decoding="async")


def _child(child: SessionTree) -> Child:
    spent = f"{many(child.meta.turns, 'turn')} · {tokens(child.meta.tree_usage)}"
    spent += f" · {cost(child.meta.tree_usage)}" if child.meta.tree_usage.cost else ""
    took = seconds(child.meta.metrics.get("duration", 0.0))
    summary = tag(
        "summary",
        tag("span", child.meta.prompt_preview or child.folder.name, class_="task"),
        _pill(child),
        tag("span", f"{child.folder.name} · {spent} · {took}", class_="meta"),
    )
    why = tag("p", child.meta.error, class_="mark error") if child.meta.error else ""
    inside = element("div", why, _agent(child), class_="inside")
    return element("details", summary, inside, class_="agent", id=child.agent)


_CLASSES = {Style.RED: "error", Style.GREEN: "done", Style.BOLD_BLUE: "resume"}
