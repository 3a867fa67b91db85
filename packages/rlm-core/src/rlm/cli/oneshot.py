"""`rlm "task"`: one run in the current directory."""

from __future__ import annotations

from rlm.cli.arguments import CommandLine
from rlm.cli.output import ends_with_a_result
from rlm.cli.own_process import working_directory
from rlm.cli.stdin import prompt_is_meant, read_task, stdin_as_context
from rlm.cli.streams import put, say
from rlm.config.environment import broker_address
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.version import VERSION

SHORT_HELP = """\
usage: rlm [flags] "task"
       rlm                 at a terminal: a prompt that you and the agent share
       rlm demo            see it work, with no key and no network
       rlm --help          all flags and commands"""


def run(line: CommandLine) -> int:
    """Read the task, run it, print the answer."""
    if "version" in line.options:
        put(f"rlm {VERSION}")
        return exit_codes.DONE
    if not line.words and line.rest is None and prompt_is_meant(line):
        from rlm.cli import interactive

        return interactive.run(line, working_directory())
    with ends_with_a_result(line.wants("json")):
        config = read_config(line.settings)
        task = read_task(line.words[0] if line.words else None, line.text)
        cwd = working_directory()
    if task is None:
        say(SHORT_HELP)
        return exit_codes.USAGE
    if (address := broker_address()) is not None:
        from rlm.cli import nested

        return nested.run(str(task), line.settings, config, address)
    from rlm.cli import reporter
    from rlm.host.spec import AgentSpec, context_file

    with stdin_as_context(task, config) as context:
        text = str(task) if context is None else task.prompt
        spec = AgentSpec(text, config, cwd, context or context_file(config.context))
        # tells the user what was read from stdin: in a shell's `while read` loop, rlm reads the input of the loop
        where = ", in the variable `context`" if context else ""
        notes = [f"{task.read}{where}"] if task.read else []
        return reporter.run(spec, line.options.get("directory"), notes)
