"""The frame at the bottom of a terminal: the tree of agents at work, above it the newest text. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from rlm.present.describe import first_line
from rlm.present.humanize import lineage, many, seconds, short, spent
from rlm.present.live.row import Row, clean
from rlm.present.live.tree import ROOT, AgentNow, AgentState, AgentTree
from rlm.text.styled import Span, Style, columns, pad, wrap

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
STEPS = 4
"""Steps of the spinner per second."""
RECENT = 3
"""Lines of the newest text."""

FULL, NARROW = 95, 64
"""Minimum columns for a row with all details, and for a row with more than activity and time."""

Families = Mapping[str, Sequence[AgentNow]]
"""The children of each agent."""


def frame(tree: AgentTree, now: float, width: int, height: int) -> list[Row]:
    """Draw the frame. It takes at most two thirds of the screen; the rest is for lines above it."""
    root = tree.agents.get(ROOT)
    if root is None:
        return []
    most = max(1, height * 2 // 3)
    room = max(1, most - 1)  # one row is for the count of hidden agents
    recent = _recent(root.recent, width, min(RECENT, room - 1))
    chosen = _chosen(tree, room - len(recent))
    branches = [("", root), *_branches(_families(chosen), ROOT, "")]
    left = max(columns(guide + _name(agent)) for guide, agent in branches)
    rows = [
        Row(
            (*_start(agent, guide, left, now), *_task(agent, width), *_activity(tree, agent, now)),
            _numbers(agent, now, width),
        )
        for guide, agent in branches
    ]
    return [*recent, *rows, *_rest(tree, len(tree.agents) - len(chosen))][:most]


# ---- choice and order of agents


def _chosen(tree: AgentTree, room: int) -> list[AgentNow]:
    """The agents that fit, parents first. Agents at work come before waiting ones, each with its ancestors."""
    chosen = {ROOT}
    for agent in sorted(tree.agents.values(), key=lambda agent: agent.state is AgentState.WAITING):
        more = {path for path in lineage(agent.path) if path in tree.agents} - chosen
        if len(chosen) + len(more) <= room:
            chosen |= more
    return [agent for path, agent in tree.agents.items() if path in chosen]


def _families(agents: Sequence[AgentNow]) -> Families:
    families: dict[str, list[AgentNow]] = defaultdict(list)
    for agent in agents:
        families[agent.path.rpartition("/")[0]].append(agent)
    return families


def _branches(families: Families, path: str, indent: str) -> Iterator[tuple[str, AgentNow]]:
    """Yield the agents below `path`, each with the lines that connect it to its parent."""
    children = families.get(path, ())
    for child in children:
        last = child is children[-1]
        yield indent + ("└ " if last else "├ "), child
        yield from _branches(families, child.path, indent + ("  " if last else "│ "))


# ---- layout of a row


def _name(agent: AgentNow) -> str:
    return short(agent.path).rpartition("/")[2] or "root"


def _start(agent: AgentNow, guide: str, left: int, now: float) -> tuple[Span, ...]:
    """The spinner for the root, or the position in the tree in `left` columns."""
    sign = SPINNER[int(now * STEPS) % len(SPINNER)] if agent.path == ROOT else " "
    name = pad(_name(agent), left - columns(guide))
    return (Span(f"  {sign} ", Style.CYAN), Span(guide, Style.DIM), Span(f"{name}  ", Style.CYAN))


def _task(agent: AgentNow, width: int) -> tuple[Span, ...]:
    """The task of a child. The root's task is not shown: the user has just typed it."""
    room = 28 if width >= FULL else 16
    return () if agent.path == ROOT or width < NARROW else (Span(f"{pad(clean(agent.task), room)}  "),)


def _activity(tree: AgentTree, agent: AgentNow, now: float) -> tuple[Span, ...]:
    match agent.state:
        case AgentState.WAITING:
            return (Span(_waiting(tree, agent), Style.DIM),)
        case AgentState.RUNNING:
            return (Span(f"{agent.tool}  ", Style.DIM), Span(agent.cell))
        case AgentState.RETRYING:
            wait = f"retry in {seconds(agent.until - now)}" if now < agent.until else "trying again"
            return (Span(f"{wait}: {first_line(agent.problem)}", Style.YELLOW),)
        case _:
            passed = now - agent.changed
            return (Span(f"{agent.writing or 'thinking'}{f' · {seconds(passed)}' if passed >= 1 else ''}", Style.DIM),)


def _waiting(tree: AgentTree, parent: AgentNow) -> str:
    """`waiting for 3 agents`, or `7 of 30 done, 4 running, 2 waiting, 17 queued`."""
    total = parent.finished + parent.children + parent.queued
    children = (agent for agent in tree.agents.values() if agent.path.rpartition("/")[0] == parent.path)
    idle = sum(agent.state is AgentState.WAITING for agent in children)
    if total == parent.children and not idle:
        return f"waiting for {many(total, 'agent')}"
    counts = {"running": parent.children - idle, "waiting": idle, "queued": parent.queued}
    parts = [f"{parent.finished} of {total} done", *(f"{number} {name}" for name, number in counts.items() if number)]
    return ", ".join(parts)


def _numbers(agent: AgentNow, now: float, width: int) -> tuple[Span, ...]:
    """Turns, tokens and time, as far as they fit."""
    amount = spent(len(agent.turns), agent.usage if width >= FULL else None) if width >= NARROW else ""
    return (Span(f"{amount}{seconds(max(0, now - agent.since)):>9}", Style.DIM),)


def _recent(text: str, width: int, lines: int) -> list[Row]:
    """The last lines of the newest text, wrapped."""
    wrapped = [piece for line in text.splitlines()[-lines:] for piece in wrap(clean(line), width - 4)]
    return [Row((Span(f"    {piece}", Style.DIM),)) for piece in wrapped[-lines:]] if lines > 0 else []


def _rest(tree: AgentTree, hidden: int) -> list[Row]:
    parts = [f"{hidden} more"] if hidden else []
    parts += [f"{number} {state}" for state, number in tree.ended.items()]
    return [Row((Span(f"    + {' · '.join(parts)}", Style.DIM),))] if parts else []
