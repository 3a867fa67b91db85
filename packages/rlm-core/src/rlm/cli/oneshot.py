"""`rlm "task"`: one run in the current directory."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.cli import exits
from rlm.cli.arguments import parse_run, settings_given
from rlm.cli.cwd import working_directory
from rlm.cli.jsonlines import ends_with_a_result
from rlm.cli.stdin import read_task
from rlm.cli.streams import put, say
from rlm.config.environment import broker_address
from rlm.config.settings import read_config, wants_json
from rlm.version import VERSION

SHORT_HELP = """\
usage: rlm [flags] "task"
       rlm demo            see it work, with no key and no network
       rlm --help          all flags and commands"""


def run(argv: Sequence[str]) -> int:
    """Read the arguments and the task, run it, print the answer."""
    with ends_with_a_result(wants_json(argv)):
        parsed = parse_run(argv)
        if parsed.version:
            return _print_version()
        config = read_config(settings_given(parsed))
        task = read_task(parsed.task[0] if parsed.task else None, verbatim="--" in argv)
        cwd = working_directory()
    if task is None:
        say(SHORT_HELP)
        return exits.USAGE
    if (address := broker_address()) is not None:
        from rlm.cli import nested

        return nested.run(task, settings_given(parsed), config, address)
    from rlm.cli import reporter
    from rlm.host.spec import AgentSpec, context_file

    return reporter.run(AgentSpec(task, config, cwd, context_file(config.context)))


def _print_version() -> int:
    put(f"rlm {VERSION}")
    return exits.DONE
