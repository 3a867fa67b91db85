"""The call tree and the timeline in one drawing: a row per agent with its activity over time, and its tokens."""

from __future__ import annotations

from collections.abc import Iterator

from rlm.core.messages import Usage
from rlm.present.export.markup import Child, Html, element, tag
from rlm.present.export.timing import Activity, Axis, Times, TimeSpan, spans, times
from rlm.present.humanize import count, seconds
from rlm.sessions.store import SessionTree

WIDTH = 10_000
"""Width of the drawing in units."""
NARROWEST = 12
DEEPEST = 4
"""Maximum number of levels that are indented."""
TICKS = 5

_NAMES = {Activity.MODEL: "model", Activity.TOOL: "cells and commands", Activity.WAIT: "waiting for sub-agents"}

_TOKENS = {"model": "prompt tokens", "cached": "cached ones", "out": "completion tokens"}
"""The parts of the token bar, by their CSS classes."""


def timeline(tree: SessionTree) -> Child:
    """Draw what each agent did when, who waited for whom, and where time and tokens went."""
    agents = [(each, times(each)) for each in tree.walk()]
    axis = Axis(interval for _, when in agents for interval in when.busy)
    most = max((each.meta.usage.prompt + each.meta.usage.completion for each, _ in agents), default=0)
    rows = (_row(each, when, axis, most) for each, when in agents)
    labels = (tag("span", seconds(axis.length * n / (TICKS - 1)) if n else "0") for n in range(TICKS))
    ticks = tag("div", tag("span"), tag("div", *labels, class_="axis line"), tag("span"), class_="row axes")
    drawn = element("div", ticks, rows, class_="rows", tabindex=0)
    card = element("div", _legend(agents, axis), drawn, class_="card")
    return element("section", tag("h2", "Time and tokens"), card, id="time")


def _legend(agents: list[tuple[SessionTree, Times]], axis: Axis) -> Html:
    totals = {activity: sum(when.total(activity) for _, when in agents) for activity in Activity}
    usage = sum((each.meta.usage for each, _ in agents), Usage())
    kinds = (
        tag("span", tag("i", class_=f"k-{activity}"), f"{_NAMES[activity]} ", tag("b", seconds(total)))
        for activity, total in totals.items()
    )
    paid = f"{count(usage.prompt)} in, {count(usage.cached)} of them cached; {count(usage.completion)} out"
    bar = (tag("span", tag("i", class_=f"k-{kind}"), name) for kind, name in _TOKENS.items())
    idle = f"{seconds(axis.left_out)} without activity are left out" if axis.left_out >= 1 else None
    left_out = tag("span", idle) if idle else ""
    return tag("div", *kinds, tag("span", tag("b", paid)), tag("span", "thin bar:"), *bar, left_out, class_="legend")


def _row(tree: SessionTree, when: Times, axis: Axis, most: int) -> Child:
    depth = min(tree.agent.count("/"), DEEPEST)
    task = tree.meta.prompt_preview or tree.folder.name
    dot = tag("span", "●", class_=f"dot {tree.meta.status}")
    name = tag("a", dot, task, href=f"#{tree.agent}", title=f"{tree.agent}: {task}", class_=f"name d{depth}")
    drawn = (_bar(span, tree, axis) for span in spans(tree))
    durations = ", ".join(f"{_NAMES[activity]} {seconds(when.total(activity))}" for activity in Activity)
    bars = element("svg", drawn, **_box(20), role="img", aria_label=durations)
    line = element("div", bars, _tokens(tree.meta.usage, most), class_="line")
    usage = tree.meta.usage
    spent = f"{count(usage.prompt)} / {count(usage.completion)} · {seconds(when.end - when.start)}"
    return element("div", name, line, tag("span", spent, class_="spent", title="tokens in / out · time"), class_="row")


def _box(height: int) -> dict[str, str]:
    return {"viewBox": f"0 0 {WIDTH} {height}", "preserveAspectRatio": "none"}


def _bar(span: TimeSpan, tree: SessionTree, axis: Axis) -> Html:
    start, end = axis.place(span.start) * WIDTH, axis.place(span.end) * WIDTH
    top, height = (7, 6) if span.activity is Activity.WAIT else (2, 16)
    width = max(NARROWEST, end - start)
    title = tag("title", f"{span.label}: {seconds(span.length)}")
    shape = Html(f'<rect x="{start:.0f}" y="{top}" width="{width:.0f}" height="{height}" class="s-{span.activity}">')
    return tag("a", shape, title, Html("</rect>"), href=f"#{tree.agent}:{span.place}", tabindex=-1)


def _tokens(usage: Usage, most: int) -> Html:
    """A bar with the prompt tokens (cached or not) and completion tokens, relative to the agent that spent most."""
    scale = WIDTH / most if most else 0.0
    return tag("svg", *_pieces(usage, scale), **_box(3), class_="tokens", aria_hidden="true")


def _pieces(usage: Usage, scale: float) -> Iterator[Html]:
    at = 0.0
    parts = (("s-model", usage.prompt - usage.cached), ("s-cached", usage.cached), ("s-out", usage.completion))
    for kind, number in parts:
        width = max(0, number) * scale
        yield Html(f'<rect x="{at:.0f}" y="0" width="{width:.0f}" height="3" class="{kind}"></rect>')
        at += width
