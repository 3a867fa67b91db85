"""`rlm completion SHELL`: print a script that completes rlm's commands, flags and ids in a shell.

The script is generated once from the table of commands. Only session ids are looked up at completion time, by
`rlm completion ids`.
"""

from __future__ import annotations

from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.completion import bash, fish, zsh
from rlm.cli.streams import put
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.sessions.find import sessions_home
from rlm.sessions.store import list_sessions
from rlm.text.clip import one_line
from rlm.text.terminal import plain

_SCRIPTS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}
_LISTED = 200
"""Maximum number of sessions in the list; a longer list helps nobody."""
_TASK = 60  # characters


def run(line: CommandLine) -> int:
    """
    Raises:
        ConfigError: there is no script for this shell.
    """
    wanted = line.id or ""
    if wanted == "ids":  # in each line an id, a tab and a task, the newest session first
        listed = list_sessions(sessions_home(read_config(line.settings), Path.cwd()))[:_LISTED]
        lines = (f"{each.folder.name}\t{plain(one_line(each.meta.prompt_preview, _TASK))}" for each in listed)
        if text := "\n".join(lines):
            put(text)
    elif wanted in _SCRIPTS:
        put(_SCRIPTS[wanted]())
    else:
        raise ConfigError(
            f"rlm completion takes one of {', '.join(_SCRIPTS)}. For example, in ~/.bashrc: "
            'eval "$(rlm completion bash)"'
        )
    return exit_codes.DONE
