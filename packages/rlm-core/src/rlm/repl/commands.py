"""The commands of the prompt: `/name argument`."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from rlm.errors import ConfigError
from rlm.present.humanize import cost, count, many, tokens
from rlm.repl.session import PromptCommand, Quit, Repl
from rlm.text.styled import Style

if TYPE_CHECKING:
    from rlm.config.settings import Config
    from rlm.host.runner import AgentRunner

_BUDGET = re.compile(r"(\$?)\s*(\d+(?:\.\d+)?)([kKmM]?)")
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}

KEYS = """\
  text            for the agent; while it works: sent after the current cell
  !cmd  !!cmd     a shell command in the kernel's folder; !! is hidden from the model
  >expr  >>expr   Python in the shared kernel; >> is hidden from the model; also %magic, %%magic, obj?
  @path           include the file in the message
  $`expr`         include the value in the message
  Enter           send; Alt+Enter, Ctrl+J: a new line; while the agent works Alt+Enter queues
  Ctrl+O          turn the Python prompt on or off
  Ctrl+G          edit in $EDITOR
  Ctrl+R          search the history; Tab completes
  Alt+1 … Alt+9   print a folded output whole
  Ctrl+C          stop the turn; again: kill a kernel that ignores it
  Ctrl+D          leave"""


async def _help(repl: Repl, _: str) -> None:
    rows = (f"  /{name + ' ' + command.argument:<26} {command.about}" for name, command in COMMANDS.items())
    repl.screen.note("\n".join(rows) + f"\n\n{KEYS}", Style.PLAIN)


async def _model(repl: Repl, name: str) -> None:
    agent = await repl.needed()
    if name:
        agent.use_model(name)
    repl.screen.note(f"model: {agent.config.model}", Style.PLAIN)


async def _tools(repl: Repl, _: str) -> None:
    agent = await repl.needed()
    repl.screen.note(f"tools: {', '.join(agent.config.tools) or 'none'}", Style.PLAIN)
    repl.screen.note(f"skills: {', '.join(agent.skills) or 'none'}", Style.PLAIN)


async def _tree(repl: Repl, _: str) -> None:
    from rlm.repl.recap import tree_lines

    folder = (await repl.needed()).session.folder
    repl.screen.note("\n".join(await asyncio.to_thread(tree_lines, folder)), Style.PLAIN)


async def _usage(repl: Repl, _: str) -> None:
    session = (await repl.needed()).session
    usage = session.tree_usage
    parts = [tokens(usage, cached=True), f"{count(usage.reasoning)} reasoning", many(session.meta.turns, "turn")]
    parts += filter(None, [many(session.agents, "agent"), cost(usage)])
    repl.screen.note(" · ".join(parts), Style.PLAIN)


async def _budget(repl: Repl, argument: str) -> None:
    agent = await repl.needed()
    if argument:
        await agent.use_budget(*_limits(argument, agent.config))
    config = agent.config
    limits = {
        "turns of a task": config.max_turns,
        "completion tokens of the tree": config.max_tokens or "no limit",
        "new tokens of the tree": f"{config.max_total_tokens:,}" if config.max_total_tokens else "no limit",
        "dollars of the tree": "no limit" if config.max_cost is None else f"{config.max_cost:g}",
        "agents": config.max_agents,
        "agents at once": config.max_concurrent_agents,
        "depth": config.max_depth,
        "seconds of a cell": f"{config.exec_timeout:g}",
    }
    repl.screen.note("\n".join(f"  {name:<30} {value}" for name, value in limits.items()), Style.PLAIN)


def _limits(argument: str, config: Config) -> tuple[int, float | None]:
    """Parse a limit of new tokens or of dollars: `200k`, `1.5M`, `$2`, or `off` for none.

    Raises:
        ConfigError: the argument has none of these forms.
    """
    if argument == "off":
        return 0, None
    found = _BUDGET.fullmatch(argument)
    number = float(found[2]) * _UNITS[found[3].lower()] if found else 0.0
    if found is None or number <= 0 or (found[1] and found[3]):
        raise ConfigError(
            "/budget N: limit of new tokens for the whole session, such as 200k; $N: dollars; off: no limit."
        )
    return (config.max_total_tokens, number) if found[1] else (int(number) or 1, config.max_cost)


async def _compact(repl: Repl, _: str) -> None:
    done = await (await repl.idle()).conversation().compact()
    repl.screen.note("" if done else "There is nothing to compact.")


async def _fork(repl: Repl, _: str) -> None:
    id = (await repl.idle()).session.id
    await repl.switch(lambda: repl.setup.resume_spec(id, fork=True))


async def _resume(repl: Repl, wanted: str) -> None:
    repl.check_idle()
    await repl.switch(lambda: repl.setup.resume_spec(wanted or None, fork=False))


async def _export(repl: Repl, argument: str) -> None:
    words = argument.split()
    options = [f"--format={words[0]}"] if words else []
    await repl.command_line("export", *options, *(["-o", words[1]] if len(words) > 1 else []))
    if len(words) > 1:
        repl.screen.note(f"to {words[1]}")


async def _show(repl: Repl, _: str) -> None:
    await repl.command_line("show")


async def _retry(repl: Repl, _: str) -> None:
    text = _take_back(await repl.idle())
    repl.screen.echo(text, "again")
    repl.begin_turn(text)


async def _undo(repl: Repl, _: str) -> None:
    text = _take_back(await repl.idle())
    repl.screen.note("The newest task and its results left the conversation. Files and variables stay.")
    repl.prompt.recall(text)


async def _hide(repl: Repl, argument: str) -> None:
    conversation = (await repl.idle()).conversation()
    if not conversation.hide(_number(argument, "/hide N: the number of a turn")):
        turns = ", ".join(map(str, conversation.state.history.live_turns())) or "none"
        raise ConfigError(f"There is no turn {argument} in the context. There are: {turns}.")
    repl.screen.note(f"The model no longer sees turn {argument}.")


async def _edit(repl: Repl, argument: str) -> None:
    agent = await repl.idle()
    repl.prompt.recall(_take_back(agent, _number(argument, "/edit N: the number of a task") if argument else None))


def _take_back(agent: AgentRunner, nth: int | None = None) -> str:
    """Drop the `nth` task (from 1; None: the newest) and all that came after it. Return its text.

    Raises:
        ConfigError: there is no such task.
    """
    conversation = agent.conversation()
    tasks = conversation.tasks()
    number = len(tasks) if nth is None else nth
    if not 1 <= number <= len(tasks):
        raise ConfigError(f"There is no task {number}: there are {len(tasks)}." if tasks else "There is no task.")
    first, text = tasks[number - 1]
    conversation.take_back(first)
    return text


async def _diff(repl: Repl, _: str) -> None:
    """With new files by their names. Before the first commit there is no HEAD to compare with."""
    repl.run_cell("!git status --short && git --no-pager diff $(git rev-parse -q --verify HEAD)", told=False)


async def _kernel(repl: Repl, what: str) -> None:
    kernel = (await repl.needed()).kernel
    if kernel is None:
        raise ConfigError("There is no kernel: the tool ipython is switched off (RLM_TOOLS).")
    if what == "restart":
        repl.interrupt()
        await kernel.restart("the user asked for it")
    elif what == "interrupt":
        kernel.interrupt()
    else:
        raise ConfigError("/kernel restart deletes the variables; /kernel interrupt stops the cell.")


async def _quit(_repl: Repl, _: str) -> None:
    raise Quit


def _number(text: str, usage: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{usage}.")
    return int(text)


COMMANDS = {
    "help": PromptCommand("show this list", _help),
    "model": PromptCommand("show the model, or use another one from the next request on", _model, "[NAME]"),
    "tools": PromptCommand("show tools and skills", _tools),
    "tree": PromptCommand("show the agents of this session", _tree),
    "usage": PromptCommand("show tokens, turns and agents so far", _usage),
    "budget": PromptCommand(
        "show the limits, or set one of tokens or dollars for the whole session", _budget, "[N|$N|off]"
    ),
    "compact": PromptCommand("have the model summarise the older turns now", _compact),
    "fork": PromptCommand("continue with a copy of this session", _fork),
    "resume": PromptCommand("continue another session", _resume, "[ID]"),
    "export": PromptCommand("write this session to a file: html, ipynb, chat or atif", _export, "[FORMAT] [FILE]"),
    "show": PromptCommand("read this session", _show),
    "retry": PromptCommand("remove the newest task and ask it again", _retry),
    "undo": PromptCommand("remove the newest task, and edit it", _undo),
    "hide": PromptCommand("hide turn N from the model", _hide, "N"),
    "edit": PromptCommand("go back to the Nth task, and edit it", _edit, "[N]"),
    "diff": PromptCommand("show what changed in the working tree", _diff),
    "kernel": PromptCommand("restart or interrupt the kernel", _kernel, "restart|interrupt"),
    "quit": PromptCommand("leave", _quit),
}
