"""`rlm export [ID…]`: sessions as a page, a notebook, training data or trajectories."""

from __future__ import annotations

import fnmatch
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.output import open_output
from rlm.cli.streams import put_pieces, say, stdout_is_terminal
from rlm.config.child_env import opener
from rlm.config.environment import state_folder
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError, RlmError, SessionError
from rlm.present.export import Arguments, Format, export, subtree
from rlm.sessions.find import FoundAgent, find_agent, sessions_home
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import SessionTree, list_sessions, read_tree

_SUFFIXES = {Format.HTML: "html", Format.IPYNB: "ipynb", Format.CHAT: "jsonl", Format.ATIF: "json"}
_ONE = (Format.HTML, Format.IPYNB, Format.ATIF)
"""Formats whose file holds one session."""
_OPENER_TIMEOUT = 10
"""Seconds; an opener passes the file on and exits."""


def run(line: CommandLine) -> int:
    """
    Raises:
        SessionError: there is no such session or agent.
    """
    options = line.options
    found = list(_found(sessions_home(read_config(line.settings), Path.cwd()), line.all_words))
    wanted = Format(options.get("format", Format.HTML))
    if wanted in _ONE and len(found) > 1:
        raise ConfigError(f"A file of format {wanted} contains one session, not {len(found)}. Name one, or use chat.")
    if "arguments" in options and wanted is not Format.CHAT:
        raise ConfigError(f"--arguments requires --format chat, not {wanted}.")
    arguments = Arguments(options.get("arguments", Arguments.MAPPING))
    trees = [subtree(subtree(read_tree(each.folder), each.agent), options.get("agent")) for each in found]
    pieces = (piece for tree in trees for piece in export(tree, wanted, arguments))
    file = _file(line, wanted, trees)
    if file is None:
        put_pieces(pieces, json=wanted is not Format.HTML)
        return exit_codes.DONE
    with open_output(file) as output:
        output.write(pieces)
    if "file" not in options:
        say(f"Written to {file}")
    if "open" in options:
        _open_for_user(file)
    return exit_codes.DONE


def _file(line: CommandLine, wanted: Format, trees: Sequence[SessionTree]) -> Path | None:
    """The output file, or None for stdout.

    At a terminal a file named after the session is created instead of a long output.
    """
    if "file" in line.options:
        return Path(line.options["file"]).expanduser()
    if not stdout_is_terminal() and "open" not in line.options:
        return None
    name = trees[0].folder.name if len(trees) == 1 else "sessions"
    return Path(f"rlm-{name}.{_SUFFIXES[wanted]}")


def _found(home: Path, ids: Sequence[str]) -> Iterator[FoundAgent]:
    key = key_or_none(state_folder())
    if not ids:
        yield find_agent(home, key=key)
    for wanted in ids:
        if any(sign in wanted for sign in "*?["):
            found = [each.folder for each in list_sessions(home) if fnmatch.fnmatchcase(each.folder.name, wanted)]
            if not found:
                raise SessionError(f"No session matches {wanted}. `rlm ls` lists them.")
            yield from map(FoundAgent, found)
        else:
            yield find_agent(home, wanted, key)


def _open_for_user(file: Path) -> None:
    """Open a file with the user's default program.

    Raises:
        RlmError: no program here can open the file.
    """
    path = file.absolute()
    try:
        program, environment = opener()
        process = subprocess.Popen(
            [program, path],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise RlmError(
            f"{path} is written, but no program can be started to open it: {error}. Open it yourself."
        ) from None
    try:
        code = process.wait(_OPENER_TIMEOUT)
    except subprocess.TimeoutExpired:
        return  # a browser that the opener itself started keeps running
    if code:
        raise RlmError(f"{path} is written, but {program.name} did not open it (exit code {code}). Open it yourself.")
